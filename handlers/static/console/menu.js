/** What can be done with a conversation. */

import { h, icon, ICONS } from "./dom.js"

/** A button with a menu that opens below it. */
export function menuOf(view) {
  const button = h(
    "button",
    { type: "button", class: "quiet icon", "aria-label": "Conversation menu", "aria-haspopup": "menu", "aria-expanded": "false" },
    icon(ICONS.menu),
  )
  const menu = h("div", { class: "menu", role: "menu", "aria-label": "Conversation", hidden: true })
  const close = (focus = true) => {
    if (menu.hidden) return
    menu.hidden = true
    button.setAttribute("aria-expanded", "false")
    document.removeEventListener("pointerdown", outside)
    if (focus) button.focus()
  }
  const outside = (event) => menu.contains(event.target) || button.contains(event.target) || close(false)
  const open = () => {
    menu.replaceChildren(
      ...itemsOf(view).map(([name, act, isDanger]) =>
        h(
          "button",
          {
            type: "button",
            role: "menuitem",
            tabindex: "-1",
            class: isDanger && "danger",
            onclick: () => {
              close()
              act()
            },
          },
          name,
        ),
      ),
    )
    menu.hidden = false
    button.setAttribute("aria-expanded", "true")
    document.addEventListener("pointerdown", outside)
    menu.firstElementChild.focus()
  }
  button.addEventListener("click", () => (menu.hidden ? open() : close()))
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return
    event.preventDefault()
    if (menu.hidden) open()
  })
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.children]
    const at = items.indexOf(document.activeElement)
    const to = {
      ArrowDown: (at + 1) % items.length,
      ArrowUp: (at - 1 + items.length) % items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key]
    if (to !== undefined) {
      event.preventDefault()
      items[to].focus()
    } else if (event.key === "Escape") {
      event.stopPropagation()
      close()
    } else if (event.key === "Tab") close(false)
  })
  return h("div", { class: "with-menu" }, button, menu)
}

function itemsOf(view) {
  const { is_pinned: isPinned, is_archived: isArchived } = view.conversation
  return [
    ["Rename", () => view.focusTitle()],
    [isPinned ? "Unpin" : "Pin", () => view.change({ is_pinned: !isPinned })],
    ["Tags…", async () => (await import("./dialogs.js")).editTags(view)],
    [isArchived ? "Take out of the archive" : "Archive", () => view.change({ is_archived: !isArchived })],
    ["Fork", () => view.fork()],
    ["Export as Markdown", () => view.export("markdown")],
    ["Export as JSON Lines", () => view.export("jsonl")],
    ["Delete", () => view.delete(), true],
  ]
}
