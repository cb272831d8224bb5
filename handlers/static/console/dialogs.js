/** Dialogs. They are loaded when the first one is shown. */

import { h } from "./dom.js"

const SHORTCUTS = [
  ["/", "Search"],
  ["j", "Next conversation"],
  ["k", "Previous conversation"],
  ["Enter", "Open the conversation"],
  ["n", "New conversation"],
  ["Esc", "Leave a field, a menu or a dialog"],
  ["?", "This list"],
]

/** A dialog that answers what was typed, or null. */
export function ask({ title, label, value = "", hint, action, required = false }) {
  return new Promise((resolve) => {
    const field = h("input", { name: "answer", autocomplete: "off", dir: "auto", required })
    field.value = value
    const dialog = h(
      "dialog",
      { "aria-label": title },
      h(
        "form",
        { method: "dialog" },
        h("h2", {}, title),
        h("label", {}, h("span", {}, label), field),
        hint && h("p", { class: "hint" }, hint),
        h(
          "div",
          { class: "actions" },
          h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"),
          h("button", { class: "primary", value: "ok" }, action),
        ),
      ),
    )
    show(dialog, () => resolve(dialog.returnValue === "ok" ? field.value : null))
    field.select()
  })
}

/** A dialog that answers whether to go on. */
export function confirm({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-label": title },
      h(
        "form",
        { method: "dialog" },
        h("h2", {}, title),
        h("p", {}, text),
        h(
          "div",
          { class: "actions" },
          h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"),
          h("button", { class: "danger", value: "ok" }, action),
        ),
      ),
    )
    show(dialog, () => resolve(dialog.returnValue === "ok"))
  })
}

/** Let the reader write the tags of a conversation. */
export async function editTags(view) {
  const { id, tags: before } = view.conversation
  const value = before.join(", ")
  const text = await ask({
    title: "Tags",
    label: "Tags, with commas between them",
    value,
    hint: "At most 16, each of up to 64 characters.",
    action: "Save",
  })
  if (text === null || text === value || view.conversation?.id !== id) return
  // Other clients may have made tags with commas. Those that are still there stay whole.
  const whole = before.filter((tag) => tag.includes(",") && text.includes(tag))
  const rest = whole.reduce((left, tag) => left.replace(tag, ""), text)
  const others = rest.split(",").map((tag) => tag.trim()).filter(Boolean)
  await view.change({ tags: [...whole, ...others] })
}

/** Show a dialog until it is closed, and give the focus back to what had it. */
function show(dialog, closed = () => {}) {
  const focused = document.activeElement
  document.body.append(dialog)
  dialog.addEventListener("close", () => {
    dialog.remove()
    if (focused?.isConnected) focused.focus()
    closed()
  })
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""))
  dialog.showModal()
}

export function showShortcuts() {
  const rows = SHORTCUTS.map(([key, does]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)))
  const dialog = h(
    "dialog",
    { "aria-label": "Keyboard shortcuts" },
    h("h2", {}, "Keyboard shortcuts"),
    h("dl", {}, ...rows),
    h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")),
  )
  show(dialog)
}
