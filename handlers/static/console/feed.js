/** A list of conversations, as far as it is loaded. */

import * as api from "./api.js"

const PAGE = 50

/** A list of the API that is loaded page by page, as far as somebody scrolls. */
export class Feed {
  items = []
  isComplete = false
  #cursor = null

  constructor(query, path = "api/v1/conversations") {
    this.query = query
    this.path = path
  }

  async #page(cursor, signal) {
    const query = { ...this.query, limit: PAGE, cursor }
    const { body, cursor: next } = await api.page(this.path, query, signal)
    return { found: body.conversations, next }
  }

  async more(signal) {
    const { found, next } = await this.#page(this.#cursor, signal)
    const known = new Set(this.items.map(({ id }) => id))
    this.items.push(...found.filter(({ id }) => !known.has(id)).map(rowOf))
    this.#cursor = next
    this.isComplete = next === null
  }

  /** Bring the beginning up to date. What is behind it did not move. */
  async refresh(signal) {
    const { found, next } = await this.#page(null, signal)
    const head = found.map(rowOf)
    const fresh = new Set(head.map(({ id }) => id))
    if (next === null) {
      this.isComplete = true
      this.items = head
    } else this.items = [...head, ...this.items.filter(({ id }) => !fresh.has(id))]
    this.#cursor ??= next
    if (next !== null && this.items.length === head.length) {
      this.#cursor = next
      this.isComplete = false
    }
  }

  matches(conversation) {
    const { is_archived: isArchived, is_pinned: isPinned, tag, project_id: project } = this.query
    return (
      (isArchived === undefined || conversation.is_archived === isArchived) &&
      (isPinned === undefined || conversation.is_pinned === isPinned) &&
      conversation.project_id === project &&
      tag.every((each) => conversation.tags.includes(each))
    )
  }

  /** Take a conversation as it is now. Returns whether it is in this list. */
  apply(conversation) {
    const at = this.items.findIndex(({ id }) => id === conversation.id)
    if (this.matches(conversation)) {
      if (at >= 0) this.items[at] = rowOf(conversation)
      else {
        // It came from another list. Where it stands is told by when it was changed, or soon by
        // the beginning of the list.
        const before = this.items.findIndex((item, index) => index >= PAGE && item.updated_at < conversation.updated_at)
        if (before >= 0) this.items.splice(before, 0, rowOf(conversation))
      }
    } else if (at >= 0) this.items.splice(at, 1)
  }

  drop(id) {
    this.items = this.items.filter((item) => item.id !== id)
  }
}

/** What is kept of a conversation. */
function rowOf({ id, title, updated_at, is_pinned, is_archived, tags, deleted_at }) {
  return { id, title, updated_at, is_pinned, is_archived, tags, deleted_at }
}
