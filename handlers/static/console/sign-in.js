/** Who is calling. */

import * as api from "./api.js"
import { h } from "./dom.js"

class SignIn extends HTMLElement {
  /** `signedIn` is called with the projects that the key or token opens. `problem` says why it is asked for. */
  begin(signedIn, problem) {
    const secret = h("input", {
      type: "password",
      name: "secret",
      autocomplete: "off",
      spellcheck: "false",
      required: true,
    })
    const user = h("input", { name: "user", autocomplete: "off", dir: "auto", maxlength: "255" })
    const userLabel = h(
      "label",
      {},
      h("span", {}, "User", h("small", {}, " – empty: all of the project")),
      user,
    )
    const kind = (value, label, checked) =>
      h("label", { class: "choice" }, h("input", { type: "radio", name: "kind", value, checked }), label)
    const failure = h("p", { class: "failure", role: "alert" }, problem ?? "")
    const button = h("button", { class: "primary" }, "Sign in")
    const form = h(
      "form",
      {},
      h("h1", {}, "Confab"),
      h("p", { class: "hint" }, "This server asks who is calling. What you enter stays in this tab."),
      h("fieldset", {}, h("legend", {}, "Sign in with"), kind("key", "an API key", true), kind("token", "a user's token")),
      h("label", {}, h("span", {}, "Key or token"), secret),
      userLabel,
      failure,
      button,
      h("p", { class: "hint" }, "Make a key with ", h("code", {}, "python -m db create-key"), "."),
    )
    // A token is a user's already.
    form.addEventListener("change", () => (userLabel.hidden = form.elements.kind.value === "token"))
    form.addEventListener("submit", async (event) => {
      event.preventDefault()
      button.disabled = true
      failure.textContent = ""
      const value = secret.value.trim()
      const isKey = form.elements.kind.value === "key"
      api.keep({ key: isKey ? value : "", token: isKey ? "" : value, user: isKey ? user.value.trim() : "" })
      try {
        signedIn((await api.get("api/v1/projects")).projects)
      } catch (error) {
        api.forget()
        failure.textContent = error.message
        button.disabled = false
        secret.select()
      }
    })
    this.replaceChildren(h("div", { class: "sign-in" }, form))
    secret.focus()
  }
}

customElements.define("confab-sign-in", SignIn)
