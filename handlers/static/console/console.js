/** The page: who is calling, what its address names, the keyboard, and the connection. */

import * as api from "./api.js"
import "./conversation.js"
import { h, toast, uuid } from "./dom.js"
import "./side-bar.js"

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const body = document.getElementById("page")
let sideBar = null
let main = null
let hasConversations = true

async function start() {
  try {
    if (/[?&](code|error)=/.test(location.search)) await (await import("./sign-on.js")).finish()
  } catch (error) {
    signIn(error, true)
    return
  }
  try {
    enter(await api.get("api/v1/projects"))
  } catch (error) {
    if (error.status !== 401) showFailure(error)
  }
}

function showFailure(error) {
  body.replaceChildren(
    h(
      "main",
      { class: "state whole", role: "alert" },
      h("h1", {}, error.title ?? "Something went wrong"),
      h("p", {}, error.message),
      h("button", { type: "button", class: "primary", onclick: start }, "Try again"),
    ),
  )
}

async function signIn(problem, isTold = Boolean(api.session.key || api.session.token)) {
  await import("./sign-in.js")
  if (document.querySelector("confab-sign-in")) return // several requests were refused
  const view = document.createElement("confab-sign-in")
  body.replaceChildren(h("main", {}, view))
  delete document.body.dataset.view
  document.title = "Sign in – Confab"
  view.begin(enter, isTold ? problem.message : undefined)
  api.keep({ key: "", token: "" })
}

/** Show the conversations of one of the projects: the only one, the chosen one, or the most recently active. */
function enter({ projects: all, project_id: only }) {
  // The lists of the first page's API take UUIDs. The second page's has other projects, too.
  let projects = all.filter(({ id }) => UUID.test(id))
  if (only) api.keep({ project: only })
  else if (!api.session.project) {
    const newest = [...projects].sort((a, b) => (a.last_active_at < b.last_active_at ? 1 : -1))[0]
    if (newest) api.keep({ project: newest.id })
    else {
      api.session.project = uuid()
      awaitFirst()
    }
  }
  const { project } = api.session
  if (!projects.some(({ id }) => id === project)) projects = [{ id: project }, ...projects]
  sideBar = document.createElement("confab-side-bar")
  main = document.createElement("confab-conversation")
  const navigation = h("nav", { "aria-label": "Conversations" }, sideBar)
  body.replaceChildren(navigation, h("main", { id: "main", tabindex: "-1" }, main))
  const begin = () =>
    sideBar.begin(projects, {
      choose: (wanted) => choose(wanted, projects),
      canChoose: !only,
      signOut,
      canSignOut: Boolean(api.session.key || api.session.token),
    })
  begin()
  sideBar.addEventListener("loaded", ({ detail }) => {
    const changed = hasConversations === detail.isEmpty
    hasConversations = !detail.isEmpty
    if (changed) route()
  })
  main.addEventListener("opened", ({ detail }) => {
    sideBar.opened = detail.id
    // A link may lead to another project.
    if (detail.project_id !== api.session.project) {
      api.keep({ project: detail.project_id })
      const known = projects.some(({ id }) => id === detail.project_id)
      if (!known) projects.push({ id: detail.project_id })
      begin()
    }
  })
  main.addEventListener("tag", ({ detail }) => sideBar.addTag(detail))
  route()
}

/** In an empty database, go where the first conversation is made. */
async function awaitFirst() {
  const waiting = new AbortController()
  const seen = ({ changes }) => {
    const first = changes.find(({ type }) => type === "conversation")?.conversation
    if (!first) return
    waiting.abort()
    const isOurs = first.project_id === api.session.project
    api.keep({ project: first.project_id })
    if (!isOurs) start()
  }
  // What is wrong with the key, say, is told by the request of the list.
  await api.followChanges({ wait: 20 }, waiting.signal, seen).catch(() => {})
}

async function choose(wanted, projects) {
  if (wanted === "") {
    const { ask } = await import("./dialogs.js")
    wanted = await ask({
      title: "Another project",
      label: "Project id, a UUID",
      hint: "A project is there as soon as it has a conversation.",
      action: "Open",
      required: true,
    })
    if (wanted === null) return
    if (!UUID.test(wanted.trim())) {
      toast("A project's id is a UUID, such as 7c9e6679-7425-40de-944b-e07fc1f90ae7.")
      return
    }
    wanted = wanted.trim().toLowerCase()
  }
  api.keep({ project: wanted })
  location.hash = "#/"
  enter({ projects })
}

function signOut() {
  api.forget()
  location.hash = "#/"
  location.reload()
}

/** Show what the address names. */
function route() {
  if (!main?.isConnected) return
  const [, id, messageId] = /^#\/c\/([0-9a-f-]{36})(?:\/m\/([0-9a-f-]{36}))?$/.exec(location.hash) ?? []
  document.body.dataset.view = id || location.hash === "#/new" ? "conversation" : "list"
  if (id) {
    main.open(id, messageId)
    sideBar.opened = id
  } else if (location.hash === "#/new") {
    main.begin()
    sideBar.opened = null
  } else {
    sideBar.opened = null
    welcome()
  }
}

function welcome() {
  document.title = "Confab"
  main.close()
  const example = h("button", { type: "button" }, "Make an example conversation")
  example.addEventListener("click", async () => {
    example.disabled = true
    const { makeExample } = await import("./example.js")
    try {
      location.hash = `#/c/${await makeExample(api.session.project)}`
    } catch (error) {
      toast(error.message)
      example.disabled = false
    }
  })
  main.replaceChildren(
    h(
      "div",
      { class: "state whole" },
      h("h1", {}, hasConversations ? "Confab" : "Nothing has been said yet"),
      h(
        "p",
        {},
        hasConversations
          ? "Choose a conversation, or begin one."
          : "Begin a conversation here, send one to the API, or look at an example.",
      ),
      h(
        "div",
        { class: "actions" },
        h("a", { class: "button primary", href: "#/new" }, "New conversation"),
        !hasConversations && example,
      ),
      hasConversations && h("p", { class: "hint" }, "Press ", h("kbd", {}, "?"), " for the keyboard."),
    ),
  )
}

async function showShortcuts() {
  ;(await import("./dialogs.js")).showShortcuts()
}

const KEYS = {
  "/": () => sideBar.searchField.focus(),
  j: () => sideBar.move(1),
  k: () => sideBar.move(-1),
  n: () => (location.hash = "#/new"),
  "?": showShortcuts,
}

document.addEventListener("keydown", (event) => {
  const { target, key } = event
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return
  const isField = target.matches("input, textarea, select")
  if (key === "Escape" && isField && !event.defaultPrevented) target.blur()
  if (isField || !sideBar?.isConnected || !KEYS[key]) return
  event.preventDefault()
  // On a narrow screen the list is another view.
  if (key !== "?" && key !== "n" && document.body.dataset.view === "conversation" && matchMedia("(max-width: 760px)").matches) {
    location.hash = "#/"
  }
  KEYS[key]()
})

document.addEventListener("shortcuts", showShortcuts)
document.addEventListener("refused", ({ detail }) => signIn(detail))

const banner = document.getElementById("offline")
document.addEventListener("reachable", ({ detail: isReachable }) => {
  banner.hidden = isReachable
  banner.textContent = isReachable ? "" : "No connection to the server. Trying again…"
  if (isReachable && sideBar?.isConnected) sideBar.retry()
})

addEventListener("hashchange", route)
start()
