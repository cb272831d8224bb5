/** What a search finds. */

import * as api from "./api.js"
import { h, timeElement } from "./dom.js"

/** Show in `box` what is found, page by page. `opened` is the id of the conversation that is open. */
export async function search(box, text, opened, signal) {
  const list = h("ul", { class: "found" })
  const status = h("p", { class: "hint", role: "status" })
  const more = h("button", { type: "button", class: "more" }, "More")
  const query = { q: text, project_id: api.session.project, limit: 20 }
  const look = async (cursor) => {
    try {
      const { body, cursor: next } = await api.page("api/v1/search", { ...query, cursor }, signal)
      if (!cursor) box.replaceChildren(status, list, more)
      list.append(...body.results.map((result) => resultOf(result, opened)))
      const count = list.childElementCount
      status.textContent = count ? `${count}${next ? "+" : ""} found` : "Nothing has all of these words."
      more.hidden = !next
      more.onclick = () => look(next)
    } catch (error) {
      if (error.name === "AbortError") return
      status.textContent = error.message
      box.replaceChildren(status)
    }
  }
  await look()
}

function resultOf({ conversation, message, snippet, highlights }, opened) {
  const shown = h("span", { class: "snippet", dir: "auto" })
  // Highlights count code points.
  const points = [...snippet]
  let at = 0
  for (const [start, end] of highlights) {
    shown.append(points.slice(at, start).join(""), h("mark", {}, points.slice(start, end).join("")))
    at = end
  }
  shown.append(points.slice(at).join(""))
  const link = h(
    "a",
    { href: `#/c/${conversation.id}${message ? `/m/${message.id}` : ""}` },
    h("span", { class: "name", dir: "auto" }, conversation.title ?? "Untitled"),
    message && shown,
    h("span", { class: "about" }, timeElement(message?.created_at ?? conversation.updated_at)),
  )
  mark(link, opened)
  return h("li", {}, link)
}

/** Mark a link that leads to the conversation that is open. */
export function mark(link, id) {
  const isOpen = id !== null && link.getAttribute("href").startsWith(`#/c/${id}`)
  if (isOpen) link.setAttribute("aria-current", "page")
  else link.removeAttribute("aria-current")
}
