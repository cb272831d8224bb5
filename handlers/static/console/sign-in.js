/** Who is calling. */

import * as api from "./api.js"
import { h } from "./dom.js"
import * as signOn from "./sign-on.js"

class SignIn extends HTMLElement {
  /** `signedIn` is called with what the service tells of the projects. `problem` says why it is asked for. */
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
    const { provider } = signOn
    const button = h("button", { class: provider?.token_endpoint ? null : "primary" }, "Sign in")
    const form = h(
      "form",
      {},
      h("h1", {}, "Confab"),
      provider && this.byProvider(provider, failure),
      h(
        "p",
        { class: "hint" },
        provider ? "Or with a key or a token. " : "This server asks who is calling. ",
        "What you enter stays in this tab.",
      ),
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
        signedIn(await api.get("api/v1/projects"))
      } catch (error) {
        api.keep({ key: "", token: "", user: "" }) // and not what is not sent yet
        failure.textContent = error.message
        button.disabled = false
        secret.select()
      }
    })
    this.replaceChildren(h("div", { class: "sign-in" }, form))
    ;(form.querySelector("button[type=button]") ?? secret).focus()
  }

  /** What leads to the identity provider, or says that it is away. */
  byProvider(provider, failure) {
    if (!provider.token_endpoint) {
      return h("p", { role: "status" }, `${provider.name} does not answer. Load the page again to sign in there.`)
    }
    const leave = () => signOn.begin().catch((error) => (failure.textContent = error.message))
    return h("button", { type: "button", class: "primary", onclick: leave }, `Sign in with ${provider.name}`)
  }
}

customElements.define("confab-sign-in", SignIn)
