/** A conversation: its title, its messages, of which those around the reader are in the page, and
 * what other clients write meanwhile. */

import * as api from "./api.js"
import "./composer.js"
import { h, icon, ICONS, say, toast, uuid } from "./dom.js"
import { menuOf } from "./menu.js"
import { nameOf, textOf } from "./message.js"
import { Outbox } from "./outbox.js"
import { Tree } from "./tree.js"

const NEW = "new" // the name of a conversation that is not there yet
const PAGE = 50 // messages in a request
const STEP = 25 // messages that are added to the page at once
const MOST = 100 // messages that are in the page
const NEAR = 800 // pixels from an end of what is in the page, from which on more is added
const AT_END = 80 // pixels from the end, up to which a reader is taken along

class Conversation extends HTMLElement {
  #id = null
  #conversation = null
  #tree = new Tree()
  #path = []
  #first = 0 // the part of the path that is in the page
  #end = 0
  #elements = new Map()
  #view = null // a leaf that is looked at without having been switched to
  #isComplete = false // all messages are loaded
  #loading = null
  #position = "0" // the id of the newest event that was seen
  #abort = new AbortController() // of all that is asked about this conversation
  #following = new AbortController()
  #drawing = false
  #isAtEnd = true
  #outbox = this.#newOutbox(NEW)
  #lengths = new Map() // code points of what is being written

  get conversation() {
    return this.#conversation
  }

  connectedCallback() {
    this.addEventListener("act", (event) => this.#act(event.detail))
    document.addEventListener("visibilitychange", this.#seen)
  }

  disconnectedCallback() {
    this.#leave()
    document.removeEventListener("visibilitychange", this.#seen)
  }

  // A browser has six connections to a server for all its tabs: one that nobody sees needs none.
  #seen = () => {
    if (document.hidden) this.#following.abort()
    else if (this.#conversation && this.#following.signal.aborted) this.#follow()
  }

  #leave() {
    this.#abort.abort()
    this.#following.abort()
  }

  async #follow() {
    this.#following = new AbortController()
    const { signal } = this.#following
    try {
      await api.follow(this.#id, this.#position, signal, (event) => {
        this.#position = event.id
        this.#take(event)
      })
    } catch (error) {
      if (!signal.aborted) this.#showFailure(error)
    }
  }

  /** Show a conversation, at a message if one is named. */
  async open(id, messageId) {
    if (id === this.#id && this.#conversation) {
      if (messageId) this.#jump(messageId)
      return
    }
    this.#leave()
    this.#abort = new AbortController()
    this.#reset(id)
    this.#showSkeleton()
    await this.#load(messageId)
  }

  /** Show nothing. */
  close() {
    this.#leave()
    this.#abort = new AbortController()
    this.#reset(null)
  }

  /** Show a place for a conversation that begins with its first message. */
  begin() {
    this.close()
    this.#build()
    if (this.#outbox.restore()) this.#toEnd()
    this.#composer.focusField()
  }

  #reset(id) {
    this.#id = id
    this.#conversation = null
    this.#tree = new Tree()
    this.#path = []
    this.#first = this.#end = 0
    this.#elements.clear()
    this.#lengths.clear()
    this.#view = null
    this.#isComplete = false
    this.#loading = null
    this.#isAtEnd = true
    this.#outbox = this.#newOutbox(id ?? NEW)
  }

  async #load(messageId) {
    const { signal } = this.#abort
    try {
      const { conversation, position } = await api.conversation(this.#id, signal)
      this.#conversation = conversation
      this.#position = position
      this.#tree.leaf = conversation.last_message_id
      await this.#loadOlder()
      while (!this.#isComplete && (!this.#tree.messages.has(this.#tree.leaf) || !this.#has(messageId))) {
        await this.#loadOlder()
      }
      if (signal.aborted) return
      this.#build()
      this.dispatchEvent(new CustomEvent("opened", { bubbles: true, detail: conversation }))
      if (messageId && this.#tree.messages.has(messageId)) this.#jump(messageId)
      else {
        this.#toEnd()
        this.#composer.focusIfFree()
      }
      if (this.#outbox.restore()) this.#toEnd()
      if (!document.hidden) this.#follow()
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return
      this.#showFailure(error)
    }
  }

  #has = (messageId) => !messageId || this.#tree.messages.has(messageId)

  async #loadOlder() {
    this.#loading ??= this.#loadPage().finally(() => (this.#loading = null))
    await this.#loading
  }

  async #loadPage() {
    const tree = this.#tree
    const query = { branch: "all", order: "desc", limit: PAGE, after: tree.oldest }
    const page = await api.get(`api/v1/conversations/${this.#id}/messages`, query, this.#abort.signal)
    if (tree !== this.#tree) return
    for (const message of page.messages) tree.put(message)
    this.#isComplete = !page.has_more
  }

  // What is in the page

  #build() {
    const title = h("input", {
      class: "title",
      "aria-label": "Title",
      placeholder: this.#id ? "Untitled" : "New conversation",
      maxlength: "255",
      dir: "auto",
      autocomplete: "off",
      spellcheck: "false",
      disabled: !this.#id,
    })
    title.addEventListener("keydown", (event) => {
      if (event.key === "Enter") title.blur()
      if (event.key === "Escape") {
        title.value = this.#conversation.title ?? ""
        title.blur()
      }
    })
    title.addEventListener("change", () => this.rename(title.value))
    this.replaceChildren(
      h(
        "header",
        { class: "bar" },
        h("a", { class: "back", href: "#/", "aria-label": "Back to the conversations" }, icon(ICONS.back)),
        h("h1", { class: "off-screen" }),
        title,
        h("span", { class: "tags" }),
        this.#id && menuOf(this),
      ),
      h("div", { class: "scroll" }, h("div", { class: "messages" }), h("div", { class: "sending" })),
      h(
        "button",
        { type: "button", class: "to-end", hidden: true, onclick: () => this.#toEnd() },
        icon(ICONS.down),
        "Newest messages",
      ),
      h("confab-composer", {}),
    )
    this.#scroll.addEventListener("scroll", this.#scrolled, { passive: true })
    this.#composer.begin(this.#id ?? NEW, {
      send: (text) => this.#send({ content: text, client_id: uuid() }),
      stop: () => this.#stop(),
    })
    this.#showHead()
    if (!this.#id) this.#hint()
  }

  get #scroll() {
    return this.querySelector(".scroll")
  }

  get #list() {
    return this.querySelector(".messages")
  }

  get #composer() {
    return this.querySelector("confab-composer")
  }

  #hint() {
    this.#list.replaceChildren(
      h("div", { class: "hint-block" }, h("p", {}, "Say something. The first message begins the conversation.")),
    )
  }

  #showHead() {
    const { title, tags } = this.#conversation ?? { title: null, tags: [] }
    const field = this.querySelector(".title")
    if (document.activeElement !== field) field.value = title ?? ""
    this.querySelector("h1").textContent = title ?? field.placeholder
    document.title = `${title ?? (this.#id ? "Untitled" : "New conversation")} – Confab`
    const shown = tags.map((tag) =>
      h(
        "button",
        {
          type: "button",
          class: "tag",
          dir: "auto",
          title: `Show conversations with the tag ${tag}`,
          onclick: () => this.dispatchEvent(new CustomEvent("tag", { bubbles: true, detail: tag })),
        },
        tag,
      ),
    )
    this.querySelector(".tags").replaceChildren(...shown)
  }

  #showSkeleton() {
    const lines = [72, 94, 61, 88, 40].map(() => h("div", { class: "skeleton" }))
    this.replaceChildren(h("div", { class: "state", "aria-busy": "true", role: "status" }, h("p", { class: "off-screen" }, "Loading"), ...lines))
  }

  #showFailure(error) {
    const isGone = error.status === 404 || error.status === 422
    const again = h("button", { type: "button", class: "primary" }, "Try again")
    again.addEventListener("click", () => {
      const id = this.#id
      this.#id = null
      this.open(id)
    })
    this.replaceChildren(
      h(
        "div",
        { class: "state", role: "alert" },
        h("h1", {}, isGone ? "This conversation is not here" : error.title ?? "Something went wrong"),
        h(
          "p",
          {},
          isGone
            ? "It was deleted, or it belongs to somebody else. What was deleted can be restored from the trash."
            : error.message,
        ),
        error.instance && h("p", { class: "hint" }, "The server's log has more about it under ", h("code", {}, error.instance), "."),
        h("div", { class: "actions" }, !isGone && again, h("a", { class: "button", href: "#/" }, "All conversations")),
      ),
    )
    this.#conversation = null
  }

  get #leaf() {
    return this.#view ?? this.#tree.leaf
  }

  /** Draw with the next frame what has changed until then. */
  #draw() {
    if (this.#drawing) return
    this.#drawing = true
    requestAnimationFrame(() => {
      this.#drawing = false
      if (this.#list && this.#id) this.#sync()
    })
  }

  /** Bring the page to what it should show. What the reader looks at stays where it is. */
  #sync() {
    const shown = this.#path.slice(this.#first, this.#end)
    const [firstId, wasAtPathEnd] = [shown[0], this.#end >= this.#path.length]
    this.#path = this.#tree.path(this.#leaf)
    const at = firstId === undefined ? -1 : this.#path.indexOf(firstId)
    if (at >= 0) {
      this.#first = at
      this.#end = wasAtPathEnd ? this.#path.length : Math.min(this.#path.length, at + shown.length)
      if (this.#isAtEnd && this.#end - this.#first > MOST) this.#first = this.#end - MOST
    } else {
      this.#end = this.#path.length
      this.#first = Math.max(0, this.#end - STEP)
    }
    this.#place()
    if (this.#isAtEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight
    this.#showState()
  }

  /** Put the part of the path between `#first` and `#end` into the page. */
  #place() {
    const anchor = this.#isAtEnd ? null : this.#anchor()
    const before = anchor?.getBoundingClientRect().top
    const wanted = this.#path.slice(this.#first, this.#end)
    const keep = new Set(wanted)
    for (const [id, element] of this.#elements) {
      if (keep.has(id)) continue
      element.remove()
      this.#elements.delete(id)
    }
    this.#list.querySelector(".hint-block")?.remove()
    let next = this.#list.firstElementChild
    for (const id of wanted) {
      let element = this.#elements.get(id)
      if (!element) {
        element = document.createElement("confab-message")
        element.id = `m-${id}`
        this.#elements.set(id, element)
      }
      element.show(this.#tree.messages.get(id), this.#tree.versions(id))
      if (element === next) next = next.nextElementSibling
      else this.#list.insertBefore(element, next)
    }
    if (anchor?.isConnected) this.#scroll.scrollTop += anchor.getBoundingClientRect().top - before
    if (this.#isComplete && !this.#path.length && this.#outbox.isEmpty) this.#hint()
  }

  /** The first message that is in sight. */
  #anchor() {
    const top = this.#scroll.getBoundingClientRect().top
    return [...this.#list.children].find((element) => element.getBoundingClientRect().bottom > top)
  }

  #showState() {
    const growing = this.#path.some((id) => this.#tree.messages.get(id).status === "in_progress")
    this.#composer.setBusy(growing || this.#outbox.isBusy)
    const isFar = this.#end < this.#path.length || !this.#isAtEnd
    this.querySelector(".to-end").hidden = !isFar || this.#path.length === 0
  }

  #scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll
    const below = scrollHeight - scrollTop - clientHeight
    this.#isAtEnd = below < AT_END && this.#end >= this.#path.length
    if (scrollTop < NEAR) this.#growUp()
    else if (below < NEAR && this.#end < this.#path.length) {
      this.#end = Math.min(this.#path.length, this.#end + STEP)
      this.#first = Math.max(this.#first, this.#end - MOST)
      this.#place()
    }
    this.#showState()
  }

  async #growUp() {
    if (this.#first === 0) {
      if (this.#isComplete || this.#loading || this.#path.length === 0) return
      this.#list.setAttribute("aria-busy", "true")
      const before = this.#path.length
      try {
        // A page may hold nothing of this branch.
        while (!this.#isComplete && this.#tree.path(this.#leaf).length === before) await this.#loadOlder()
      } catch {
        return // the next scrolling tries again
      } finally {
        this.#list?.removeAttribute("aria-busy")
      }
      this.#sync()
      if (this.#first === 0) return
    }
    this.#first = Math.max(0, this.#first - STEP)
    if (this.#end - this.#first > MOST) {
      this.#end = this.#first + MOST
      this.#isAtEnd = false
    }
    this.#place()
    this.#showState()
    // A page that is at its top tells of no scrolling.
    if (this.#scroll.scrollTop < NEAR) requestAnimationFrame(() => this.#scroll && this.#scrolled())
  }

  #toEnd() {
    if (this.#view) this.#view = null
    this.#isAtEnd = true
    this.#path = this.#tree.path(this.#leaf)
    this.#end = this.#path.length
    this.#first = Math.max(0, this.#end - STEP)
    this.#place()
    this.#scroll.scrollTop = this.#scroll.scrollHeight
    this.#showState()
  }

  /** Show a message, on whatever branch it is, and give it the focus. */
  async #jump(messageId) {
    try {
      while (!this.#isComplete && !this.#tree.messages.has(messageId)) await this.#loadOlder()
    } catch {
      return
    }
    if (!this.#tree.messages.has(messageId)) {
      toast("This message is not here any more.")
      return
    }
    if (!this.#tree.path(this.#leaf).includes(messageId)) this.#view = this.#tree.leafBelow(messageId)
    this.#path = this.#tree.path(this.#leaf)
    const at = this.#path.indexOf(messageId)
    this.#isAtEnd = false
    this.#first = Math.max(0, at - STEP)
    this.#end = Math.min(this.#path.length, at + STEP)
    this.#place()
    const element = this.#elements.get(messageId)
    element.scrollIntoView({ block: "center" })
    element.focusArticle()
    element.classList.add("found")
    setTimeout(() => element.classList.remove("found"), 2000)
    this.#showState()
  }

  // What happens

  #take({ name, data }) {
    const tree = this.#tree
    if (name === "message") {
      const isNew = tree.newest === null || data.id > tree.newest
      if (!isNew && !tree.messages.has(data.id) && data.id < tree.oldest) return // not loaded yet
      tree.put(data)
      this.#lengths.delete(data.id)
      if (isNew) {
        tree.leaf = data.id
        this.#view = null
      }
      this.#outbox.arrived(data)
      if (data.status === "in_progress") say("The answer begins.")
    } else if (name === "delta") {
      this.#extend(data)
    } else if (name === "done") {
      const message = tree.messages.get(data.message_id)
      if (message) {
        tree.put({ ...message, status: data.status })
        if (message.role === "assistant") say(`${nameOf(message)}: ${textOf(message.content).slice(0, 1000)}`)
      }
    } else if (name === "deleted") {
      tree.remove(data.message_id, data.parent_id)
      if (this.#view === data.message_id) this.#view = null
    } else if (name === "conversation") {
      Object.assign(this.#conversation, data)
      if (tree.leaf !== data.last_message_id) this.#view = null
      tree.leaf = data.last_message_id
      this.#showHead()
    }
    this.#draw()
  }

  /** Offsets count code points, and JavaScript's indexes do not. */
  #extend({ message_id: id, offset, delta }) {
    const message = this.#tree.messages.get(id)
    if (!message || typeof message.content !== "string") return
    const length = this.#lengths.get(id) ?? [...message.content].length
    const points = [...delta]
    const known = length - offset
    if (known < 0 || known >= points.length) return
    this.#tree.put({ ...message, content: message.content + points.slice(known).join("") })
    this.#lengths.set(id, length + points.length - known)
  }

  // What the reader does

  get #address() {
    return `api/v1/conversations/${this.#id}`
  }

  async #act({ action, message, element, to }) {
    if (action === "edit") {
      element.edit((content) => this.#send({ content, parent_id: message.parent_id, client_id: uuid() }))
    } else if (action === "regenerate") {
      this.#send({ parent_id: message.parent_id })
    } else if (action === "turn") {
      await this.change({ last_message_id: this.#tree.leafBelow(to) })
      this.#elements.get(to)?.querySelector(".versions button:not(:disabled)")?.focus()
    } else if (action === "fork") {
      await this.fork(message.id)
    } else if (action === "delete") {
      const { confirm } = await import("./dialogs.js")
      const text = "It is deleted for good. What follows it stays."
      if (!(await confirm({ title: "Delete this message?", text, action: "Delete message" }))) return
      await this.#try(() => api.remove(`${this.#address}/messages/${message.id}`))
    }
  }

  /** Do what may fail, and say so if it does. */
  async #try(act) {
    try {
      return await act()
    } catch (error) {
      toast(error.message)
      return null
    }
  }

  /** Change the conversation. */
  async change(changes) {
    const id = this.#id
    const changed = await this.#try(() => api.patch(this.#address, changes))
    if (!changed || !this.#shows(id)) return
    const { messages, ...rest } = changed
    this.#take({ name: "conversation", data: rest })
    this.#sync()
  }

  async rename(title) {
    const [id, wanted] = [this.#id, title.trim() || null]
    if (wanted !== this.#conversation.title) await this.change({ title: wanted })
    if (this.#shows(id)) this.#showHead()
  }

  /** Whether the reader is still there. */
  #shows(id) {
    return id === this.#id && this.#conversation !== null
  }

  focusTitle() {
    this.querySelector(".title").select()
  }

  async fork(messageId) {
    const made = await this.#try(() => api.post(`${this.#address}/fork`, messageId ? { message_id: messageId } : {}))
    if (!made) return
    location.hash = `#/c/${made.id}`
    toast("This is the fork: what you write here does not change the other conversation.")
  }

  async export(format) {
    const file = await this.#try(() => api.file(`${this.#address}/export`, { format }))
    if (!file) return
    const url = URL.createObjectURL(file)
    h("a", { href: url, download: file.name }).click()
    setTimeout(() => URL.revokeObjectURL(url), 1000)
  }

  async delete() {
    const id = this.#id
    this.#following.abort() // what is deleted cannot be followed
    const isDone = await this.#try(async () => (await api.remove(this.#address), true))
    if (!isDone) return this.#follow()
    location.hash = "#/"
    toast("The conversation is in the trash.", "Undo", () =>
      this.#try(async () => {
        await api.post(`api/v1/trash/${id}/restore`)
        location.hash = `#/c/${id}`
      }),
    )
  }

  async #stop() {
    this.#outbox.stop()
    await this.#try(() => api.post(`${this.#address}/stop`))
  }

  // What is said

  #newOutbox(name) {
    const outbox = new Outbox(name, {
      ask: (body) => this.#ask(body, outbox),
      changed: () => this.#draw(),
      offer: (text) => this.#composer.offer(text),
      place: () => (outbox === this.#outbox ? this.querySelector(".sending") : null),
      messages: () => (outbox === this.#outbox ? [...this.#tree.messages.values()] : []),
      sent: () => this.#toEnd(),
    })
    return outbox
  }

  #send(body) {
    if (this.#view && body.parent_id === undefined) body.parent_id = this.#view
    this.#outbox.send(body)
  }

  async #ask(body, outbox) {
    if (outbox.name === NEW) await this.#start(body, outbox)
    const id = outbox.name
    const said = await api.post("api/v1/chat", { conversation_id: id, ...body })
    if (id !== this.#id) return
    // The events have told it already, unless they are late.
    for (const message of [said.user_message, said.assistant_message]) {
      if (!this.#tree.messages.has(message.id)) this.#take({ name: "message", data: message })
    }
  }

  /** Make the conversation that the first message begins. If it is asked for twice, it is made once. */
  async #start(body, outbox) {
    const line = [...body.content.trim().split("\n")[0]] // code points, since half of one is no text
    const title = line.length > 60 ? `${line.slice(0, 59).join("").trimEnd()}…` : line.join("")
    const made = await api.post(
      "api/v1/conversations",
      { project_id: api.session.project, title },
      { "Idempotency-Key": body.client_id },
    )
    outbox.moveTo(made.id)
    if (outbox !== this.#outbox) return // the reader has gone elsewhere meanwhile
    this.#id = made.id
    this.#conversation = made
    this.#isComplete = true
    history.replaceState(null, "", `#/c/${made.id}`)
    this.querySelector(".title").disabled = false
    this.querySelector(".bar").append(menuOf(this))
    this.#composer.moveTo(made.id)
    this.#showHead()
    this.dispatchEvent(new CustomEvent("opened", { bubbles: true, detail: made }))
    this.#position = "0"
    this.#follow()
  }
}

customElements.define("confab-conversation", Conversation)
