/** The conversations of a project, of which those in sight are in the page, and the search in them. */

import * as api from "./api.js"
import { h, icon, ICONS, shortTime, sleep, timeElement, toast } from "./dom.js"
import { Feed } from "./feed.js"
import { mark, search } from "./search.js"

const ROW = 56 // pixels, as in console.css
const BEYOND = 6 // rows above and below those in sight
const CHANGES = 1000 // in a request
const MOST_CHANGES = 20_000 // that are read to learn where the feed ends: 8 MB
const LOOK = 5000 // milliseconds between two looks at the list
const TYPING = 150 // milliseconds without a key after which is searched

const FILTERS = {
  All: [
    { is_archived: false, is_pinned: true },
    { is_archived: false, is_pinned: false },
  ],
  Pinned: [{ is_pinned: true }],
  Archived: [{ is_archived: true }],
  Trash: [],
}

class SideBar extends HTMLElement {
  #feeds = []
  #filter = "All"
  #tags = []
  #known = new Set() // tags that were seen
  #rows = new Map()
  #opened = null
  #abort = new AbortController()
  #following = new AbortController()
  #state = "loading"
  #error = null
  #busy = false
  #refreshing = null
  #search = new AbortController()
  #typing = null
  #isSearching = false

  connectedCallback() {
    document.addEventListener("visibilitychange", this.#seen)
  }

  disconnectedCallback() {
    this.#leave()
    document.removeEventListener("visibilitychange", this.#seen)
  }

  #seen = () => {
    if (document.hidden) this.#following.abort()
    else if (this.#following.signal.aborted) this.#follow()
  }

  #leave() {
    this.#abort.abort()
    this.#following.abort()
    this.#search.abort()
  }

  /** Show the conversations of the session's project. `projects` are those that may be chosen. */
  begin(projects, { choose, canChoose, signOut, canSignOut }) {
    this.#leave()
    const options = projects.map(({ id }) => h("option", { value: id, selected: id === api.session.project }, id))
    const select = h(
      "select",
      { "aria-label": "Project", title: "Project" },
      ...options,
      canChoose && h("option", { value: "" }, "Another project…"),
    )
    select.addEventListener("change", () => {
      const wanted = select.value
      select.value = api.session.project
      choose(wanted)
    })
    const field = h("input", {
      type: "search",
      "aria-label": "Search conversations",
      placeholder: "Search",
      autocomplete: "off",
      spellcheck: "false",
      dir: "auto",
    })
    field.addEventListener("input", () => {
      clearTimeout(this.#typing)
      this.#typing = setTimeout(() => this.#find(field.value), TYPING)
    })
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && field.value) {
        field.value = ""
        this.#find("")
        event.preventDefault()
      } else if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault()
        this.move(1, true)
      }
    })
    const filters = Object.keys(FILTERS).map((name) =>
      h("button", { type: "button", "aria-pressed": String(name === this.#filter), onclick: () => this.filter(name) }, name),
    )
    const tag = h("input", {
      class: "tag-field",
      "aria-label": "Filter by tag",
      placeholder: "Filter by tag",
      list: "known-tags",
      autocomplete: "off",
      dir: "auto",
      maxlength: "64",
    })
    tag.addEventListener("change", () => {
      if (tag.value.trim()) this.addTag(tag.value.trim())
      tag.value = ""
    })
    this.replaceChildren(
      h(
        "div",
        { class: "top" },
        select,
        h("a", { class: "button primary icon", href: "#/new", "aria-label": "New conversation", title: "New conversation (n)" }, icon(ICONS.new)),
      ),
      h("div", { class: "search" }, icon(ICONS.search), field),
      h("div", { class: "filters", role: "group", "aria-label": "Show" }, ...filters),
      h("div", { class: "tag-filter" }, h("span", { class: "chips" }), tag, h("datalist", { id: "known-tags" })),
      h("div", { class: "rows", "aria-live": "off" }),
      h(
        "div",
        { class: "foot" },
        h("span", { class: "who", dir: "auto" }, api.session.user ? `User ${api.session.user}` : ""),
        h("a", { href: api.addressOf("docs") }, "API reference"),
        h("button", { type: "button", class: "quiet", onclick: () => document.dispatchEvent(new Event("shortcuts")) }, "Shortcuts"),
        canSignOut && h("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"),
      ),
    )
    this.#box.addEventListener("scroll", () => this.#draw(), { passive: true })
    this.#load()
  }

  get #box() {
    return this.querySelector(".rows")
  }

  get searchField() {
    return this.querySelector("input[type=search]")
  }

  /** Mark the conversation that is open. */
  set opened(id) {
    this.#opened = id
    for (const link of this.querySelectorAll(".rows a")) mark(link, id)
  }

  filter(name) {
    this.#filter = name
    for (const button of this.querySelectorAll(".filters button")) {
      button.setAttribute("aria-pressed", button.textContent === name)
    }
    this.searchField.value = ""
    this.#load()
  }

  addTag(tag) {
    if (!this.#tags.includes(tag)) this.#tags.push(tag)
    this.#showChips()
    this.#load()
  }

  #showChips() {
    const chips = this.#tags.map((tag) =>
      h(
        "button",
        {
          type: "button",
          class: "tag",
          dir: "auto",
          "aria-label": `Remove the tag ${tag}`,
          onclick: () => {
            this.#tags = this.#tags.filter((other) => other !== tag)
            this.#showChips()
            this.querySelector(".tag-field").focus()
            this.#load()
          },
        },
        tag,
        icon(ICONS.close),
      ),
    )
    this.querySelector(".chips").replaceChildren(...chips)
  }

  async #load() {
    this.#abort.abort()
    this.#search.abort()
    this.#abort = new AbortController()
    const { signal } = this.#abort
    const { project } = api.session
    this.#isSearching = false
    this.#state = "loading"
    this.#rows.clear()
    this.#feeds =
      this.#filter === "Trash"
        ? [new Feed({ project_id: project, tag: [] }, "api/v1/trash")]
        : FILTERS[this.#filter].map(
            (query) =>
              new Feed({ project_id: project, tag: this.#tags, ...query, sort: "activity", include_messages: false }),
          )
    if (this.#filter === "Trash") delete this.#feeds[0].query.tag
    this.#box.scrollTop = 0
    this.#draw()
    try {
      await Promise.all(this.#feeds.map((feed) => feed.more(signal)))
      this.#state = "loaded"
    } catch (error) {
      if (error.name === "AbortError") return
      this.#state = "failed"
      this.#error = error
    }
    if (signal.aborted) return
    this.#draw()
    this.#learn()
    this.dispatchEvent(new CustomEvent("loaded", { bubbles: true, detail: { isEmpty: this.#isEmpty } }))
    if (this.#following.signal.aborted && !document.hidden) this.#follow()
  }

  get #isEmpty() {
    return this.#filter === "All" && !this.#tags.length && this.#state === "loaded" && !this.#items.length
  }

  get #items() {
    return this.#feeds.flatMap((feed) => feed.items)
  }

  /** Remember the tags that are seen, to offer them. */
  #learn() {
    for (const { tags } of this.#items.slice(0, 200)) for (const tag of tags ?? []) this.#known.add(tag)
    const offered = [...this.#known].sort().slice(0, 100)
    this.querySelector("#known-tags").replaceChildren(...offered.map((tag) => h("option", { value: tag })))
  }

  /** Follow what changes. */
  async #follow() {
    this.#following = new AbortController()
    const { signal } = this.#following
    const { project, user } = api.session
    const stored = `changes:${project}:${user}`
    const query = { project_id: project, after: sessionStorage.getItem(stored) ?? undefined }
    try {
      // The feed begins with all that there is. So it is read once for each tab, without haste, and
      // where there is too much of it the list itself is looked at instead.
      if (!query.after) {
        let page = { has_more: true }
        for (let read = 0; page.has_more && read < MOST_CHANGES; read += CHANGES) {
          page = await api.get("api/v1/changes", { ...query, limit: CHANGES }, signal)
          query.after = page.cursor
          await sleep(20)
        }
        this.#refreshSoon()
        while (page.has_more && !signal.aborted) {
          await sleep(LOOK)
          this.#refreshSoon()
        }
        if (signal.aborted) return
      }
      await api.followChanges({ ...query, wait: 20 }, signal, (found) => {
        sessionStorage.setItem(stored, found.cursor)
        if (found.changes.length) this.#take(found.changes)
      })
    } catch (error) {
      if (signal.aborted) return
      sessionStorage.removeItem(stored)
      if (error.status === 410 || error.status === 422) {
        this.#following.abort()
        this.#load()
      } else if (!(error instanceof api.Problem)) {
        await sleep(2000)
        if (!signal.aborted) this.#follow()
      }
    }
  }

  #take(changes) {
    for (const change of changes) {
      for (const feed of this.#feeds) {
        if (change.type === "deleted") feed.path.endsWith("trash") || feed.drop(change.id)
        else if (feed.path.endsWith("trash")) feed.drop(change.conversation.id)
        else feed.apply(change.conversation)
      }
    }
    this.#draw()
    this.#refreshSoon()
  }

  /** Several changes at once cost one look. */
  #refreshSoon() {
    this.#refreshing ??= sleep(100).then(async () => {
      this.#refreshing = null
      const { signal } = this.#abort
      try {
        await Promise.all(this.#feeds.map((feed) => feed.refresh(signal)))
        if (signal.aborted) return
        this.#state = "loaded"
        this.#learn()
        this.#draw()
        this.dispatchEvent(new CustomEvent("loaded", { bubbles: true, detail: { isEmpty: this.#isEmpty } }))
      } catch {
        // The next change, or the connection that is back, looks again.
      }
    })
  }

  /** After a time without a connection. */
  retry() {
    if (this.#state === "failed") this.#load()
    else this.#refreshSoon()
  }

  // Rows: all have one height, so those out of sight are a padding.

  #draw() {
    if (this.#isSearching) return
    const box = this.#box
    if (this.#state === "loading") {
      box.replaceChildren(...Array.from({ length: 6 }, () => h("div", { class: "skeleton row" })))
      return
    }
    if (this.#state === "failed") {
      box.replaceChildren(this.#failure())
      return
    }
    const items = this.#items
    if (!items.length) {
      box.replaceChildren(h("p", { class: "hint" }, this.#emptyText()))
      return
    }
    let list = box.querySelector("ul")
    if (!list) {
      list = h("ul")
      this.#rows.clear()
      box.replaceChildren(list)
    }
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - BEYOND)
    const end = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + BEYOND)
    const wanted = items.slice(first, end)
    const keep = new Set(wanted.map(({ id }) => id))
    const focused = document.activeElement?.closest?.(".rows li")
    for (const [id, row] of this.#rows) {
      if (keep.has(id)) continue
      row.element.remove()
      this.#rows.delete(id)
    }
    let next = list.firstElementChild
    wanted.forEach((item, index) => {
      let row = this.#rows.get(item.id)
      const key = JSON.stringify(item)
      if (row?.key !== key) {
        const element = this.#row(item)
        if (row) {
          if (row.element === next) next = element
          const hadFocus = row.element.contains(document.activeElement)
          row.element.replaceWith(element)
          if (hadFocus) element.querySelector("a, button")?.focus()
        }
        row = { key, element }
        this.#rows.set(item.id, row)
      }
      row.element.setAttribute("aria-posinset", first + index + 1)
      row.element.setAttribute("aria-setsize", this.#isComplete ? items.length : -1)
      if (row.element === next) next = next.nextElementSibling
      else {
        const hadFocus = row.element === focused && document.activeElement
        list.insertBefore(row.element, next)
        if (hadFocus) hadFocus.focus({ preventScroll: true })
      }
    })
    list.style.paddingTop = `${first * ROW}px`
    list.style.paddingBottom = `${(items.length - end) * ROW}px`
    if (end + 20 > items.length) this.#more()
  }

  get #isComplete() {
    return this.#feeds.every((feed) => feed.isComplete)
  }

  async #more() {
    const feed = this.#feeds.find((each) => !each.isComplete)
    if (!feed || this.#busy) return
    this.#busy = true
    try {
      await feed.more(this.#abort.signal)
      this.#busy = false
      this.#draw()
    } catch {
      await sleep(2000) // and then as far as is scrolled
    } finally {
      this.#busy = false
    }
  }

  #emptyText() {
    if (this.#tags.length) return "No conversation has these tags."
    return {
      All: "No conversations yet.",
      Pinned: "Nothing is pinned. Pin a conversation in its menu, and it stays on top.",
      Archived: "The archive is empty.",
      Trash: "The trash is empty.",
    }[this.#filter]
  }

  #failure() {
    const { title, message } = this.#error
    return h(
      "div",
      { class: "state", role: "alert" },
      h("p", {}, h("strong", {}, title ?? "It failed")),
      h("p", {}, message),
      h("button", { type: "button", onclick: () => this.#load() }, "Try again"),
    )
  }

  #row(item) {
    if (item.deleted_at) return this.#trashed(item)
    const link = h(
      "a",
      { href: `#/c/${item.id}` },
      h("span", { class: "name", dir: "auto" }, item.title ?? "Untitled"),
      h(
        "span",
        { class: "about" },
        item.is_pinned && pinned(),
        timeElement(item.updated_at, shortTime(item.updated_at)),
        ...item.tags.slice(0, 3).map((tag) => h("span", { class: "tag", dir: "auto" }, tag)),
      ),
    )
    mark(link, this.#opened)
    return h("li", {}, link)
  }

  #trashed(item) {
    const restore = async () => {
      try {
        await api.post(`api/v1/trash/${item.id}/restore`)
        for (const feed of this.#feeds) feed.drop(item.id)
        this.#draw()
        location.hash = `#/c/${item.id}`
      } catch (error) {
        toast(error.message)
      }
    }
    const name = item.title ?? "Untitled"
    return h(
      "li",
      { class: "trashed" },
      h("span", { class: "name", dir: "auto" }, name),
      h("button", { type: "button", "aria-label": `Restore ${name}`, onclick: restore }, "Restore"),
    )
  }

  // Selection

  /** Move the focus by rows, from the one that has it or that is open. */
  move(by, fromTop = false) {
    const items = this.#isSearching ? null : this.#items
    if (!items) {
      const links = [...this.querySelectorAll(".rows a")]
      const at = fromTop ? -1 : links.indexOf(document.activeElement)
      links[Math.min(Math.max(0, at + by), links.length - 1)]?.focus()
      return
    }
    const focused = document.activeElement?.closest?.(".rows li")
    let current = [...this.#rows].find(([, row]) => row.element === focused)?.[0]
    if (fromTop) current = null
    else current ??= this.#opened
    const at = items.findIndex(({ id }) => id === current)
    const to = Math.min(Math.max(0, at + by), items.length - 1)
    if (!items[to]) return
    const box = this.#box
    if (to * ROW < box.scrollTop) box.scrollTop = to * ROW
    if ((to + 1) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (to + 1) * ROW - box.clientHeight
    this.#draw()
    this.#rows.get(items[to].id)?.element.querySelector("a, button")?.focus()
  }

  // Search

  #find(text) {
    this.#search.abort()
    this.#search = new AbortController()
    this.#isSearching = text.trim() !== ""
    if (this.#isSearching) return search(this.#box, text, this.#opened, this.#search.signal)
    this.#rows.clear()
    this.#box.replaceChildren()
    this.#draw()
  }
}

function pinned() {
  const drawn = icon(ICONS.pin)
  drawn.removeAttribute("aria-hidden")
  drawn.setAttribute("role", "img")
  drawn.setAttribute("aria-label", "Pinned")
  return drawn
}

customElements.define("confab-side-bar", SideBar)
