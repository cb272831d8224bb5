/** Where a message is written. What is not sent yet survives a reload. */

import { h, icon, ICONS } from "./dom.js"

class Composer extends HTMLElement {
  #name = ""
  #field = null
  #send = null
  #stop = null

  /** `name` is the conversation's, for the draft. */
  begin(name, { send, stop }) {
    this.#name = name
    this.#field = h("textarea", {
      "aria-label": "Message",
      placeholder: "Message",
      rows: "1",
      dir: "auto",
      enterkeyhint: "send",
    })
    this.#field.value = sessionStorage.getItem(this.#draft) ?? ""
    this.#send = h("button", { class: "primary icon", "aria-label": "Send", title: "Send (Enter)" }, icon(ICONS.send))
    this.#stop = h(
      "button",
      { type: "button", class: "icon", "aria-label": "Stop", title: "Stop the answer", hidden: true, onclick: stop },
      icon(ICONS.stop),
    )
    const form = h("form", { "aria-label": "New message" }, this.#field, this.#send, this.#stop)
    this.#field.addEventListener("input", () => this.#keep())
    this.#field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault()
        form.requestSubmit()
      }
    })
    form.addEventListener("submit", (event) => {
      event.preventDefault()
      const text = this.#field.value
      if (!text.trim() || this.#send.hidden) return
      this.#field.value = ""
      this.#keep()
      send(text)
    })
    this.replaceChildren(form)
  }

  get #draft() {
    return `draft:${this.#name}`
  }

  #keep() {
    if (this.#field.value) sessionStorage.setItem(this.#draft, this.#field.value)
    else sessionStorage.removeItem(this.#draft)
  }

  /** The conversation has a name now. */
  moveTo(name) {
    sessionStorage.removeItem(this.#draft)
    this.#name = name
    this.#keep()
  }

  /** Give a text back that could not be sent, before what was written meanwhile. */
  offer(text) {
    this.#field.value = [text, this.#field.value].filter(Boolean).join("\n")
    this.#keep()
    this.#field.focus()
  }

  focusField() {
    this.#field.focus()
  }

  /** Take the focus if nothing else has it, and no keyboard would cover the screen. */
  focusIfFree() {
    const isFree = document.activeElement === document.body || document.activeElement === null
    if (isFree && matchMedia("(hover: hover)").matches) this.#field.focus()
  }

  /** Whether an answer is being written: then it can be stopped. */
  setBusy(isBusy) {
    if (this.#stop.hidden !== isBusy) return
    const hadFocus = document.activeElement === (isBusy ? this.#send : this.#stop)
    this.#stop.hidden = !isBusy
    this.#send.hidden = isBusy
    if (hadFocus) this.#field.focus()
  }
}

customElements.define("confab-composer", Composer)
