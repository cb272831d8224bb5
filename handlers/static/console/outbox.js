/** What is being said in a conversation, until it is known to be stored. */

import { Problem } from "./api.js"
import { h, say } from "./dom.js"

const LEFT = "The page was left before it was sent."

export class Outbox {
  #view
  #body = null // what is being sent
  #failure = null // why it was not
  #isStopped = false // its answer

  /** `name` is the conversation's. `view` asks (`ask`), knows the `messages` that are stored, and has
   * the place where this is shown (`place`, null when another conversation is). */
  constructor(name, view) {
    this.name = name
    this.#view = view
  }

  get isEmpty() {
    return this.#body === null
  }

  get isBusy() {
    return !this.isEmpty && !this.#failure
  }

  /** Ask for an answer. What is not known to have arrived is kept, and can be sent again. A text for
   * which there is no place is given back. */
  async send(body) {
    if (this.isBusy) return this.#giveBack(body)
    if (this.#body !== body) this.#giveBack(this.#body)
    this.#isStopped = false
    this.#hold(body, null)
    this.#view.sent()
    try {
      await this.#view.ask(body)
      this.settle(body)
    } catch (error) {
      // Who stopped an answer need not be told that it did not come to its end.
      if (this.#isStopped && error instanceof Problem) this.settle(body)
      else this.#fail(body, error)
    }
    this.#view.changed()
  }

  #giveBack(body) {
    if (body?.content !== undefined) this.#view.offer(body.content)
  }

  stop() {
    this.#isStopped = true
  }

  #fail(body, error) {
    const question = this.#stored(body)
    const isAnswered = ({ parent_id: id, role, status }) =>
      id === question.id && role === "assistant" && status !== "incomplete"
    // Where only the connection was lost, the server goes on.
    if (question && !(error instanceof Problem) && this.#view.messages().some(isAnswered)) {
      this.settle(body)
      return
    }
    // A question that is stored is answered once more, any other one is sent once more.
    const again = question && error instanceof Problem ? { parent_id: question.id } : body
    this.#hold(again, error)
    say(`It failed: ${error.message}`)
  }

  /** A message that is stored now. */
  arrived({ client_id: id }) {
    if (id && id === this.#body?.client_id) this.settle(this.#body)
  }

  settle(body) {
    if (this.#body === body) this.#hold(null, null)
  }

  /** The conversation has a name now. */
  moveTo(name) {
    sessionStorage.removeItem(this.#key)
    this.name = name
    this.#hold(this.#body, this.#failure)
  }

  /** After a reload, what was being sent can be sent again. It is stored once. */
  restore() {
    const body = JSON.parse(sessionStorage.getItem(this.#key) ?? "null")
    if (body?.client_id && !this.#stored(body)) this.#hold(body, { message: LEFT })
    else this.#hold(null, null)
    return !this.isEmpty
  }

  #stored(body) {
    return body.client_id && this.#view.messages().find(({ client_id: id }) => id === body.client_id)
  }

  get #key() {
    return `pending:${this.name}`
  }

  #hold(body, failure) {
    this.#body = body
    this.#failure = failure
    if (body) sessionStorage.setItem(this.#key, JSON.stringify(body))
    else sessionStorage.removeItem(this.#key)
    this.#view.place()?.replaceChildren(...this.#boxes())
  }

  #boxes() {
    const [body, failure] = [this.#body, this.#failure]
    if (!body || (body.content === undefined && !failure)) return []
    const box = h("div", { class: "pending", role: failure ? "alert" : undefined })
    if (body.content !== undefined) box.append(h("p", { class: "said", dir: "auto" }, body.content))
    if (!failure) return [box]
    const drop = () => {
      this.settle(body)
      this.#giveBack(body)
      this.#view.changed()
    }
    box.append(
      h("p", { class: "failure" }, failure.message),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary", onclick: () => this.send(body) }, "Retry"),
        h("button", { type: "button", onclick: drop }, body.content === undefined ? "Dismiss" : "Edit"),
      ),
    )
    return [box]
  }
}
