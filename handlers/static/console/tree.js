/** The messages of a conversation that are loaded: a tree, of which a branch is shown. */

/** They are loaded from the newest downwards, whatever their branch. So all children are there of
 * every message that is there: a child is always newer than its parent. */
export class Tree {
  messages = new Map()
  leaf = null
  #children = new Map()

  /** The id of the newest message, or null. Ids sort by age. */
  newest = null

  get oldest() {
    let oldest = null
    for (const id of this.messages.keys()) if (oldest === null || id < oldest) oldest = id
    return oldest
  }

  put(message) {
    const old = this.messages.get(message.id)
    if (old && old.parent_id !== message.parent_id) this.#detach(old)
    this.messages.set(message.id, message)
    const siblings = this.#children.get(message.parent_id) ?? []
    if (!siblings.includes(message.id)) {
      siblings.push(message.id)
      siblings.sort()
      this.#children.set(message.parent_id, siblings)
    }
    if (this.newest === null || message.id > this.newest) this.newest = message.id
  }

  #detach({ id, parent_id }) {
    const left = (this.#children.get(parent_id) ?? []).filter((other) => other !== id)
    this.#children.set(parent_id, left)
  }

  /** Its children take its parent. If it was the leaf, the parent is. */
  remove(id, parent) {
    const message = this.messages.get(id)
    if (!message) return
    this.messages.delete(id)
    this.#detach(message)
    for (const child of this.#children.get(id) ?? []) {
      this.put({ ...this.messages.get(child), parent_id: parent })
    }
    this.#children.delete(id)
    if (this.newest === id) this.newest = [...this.messages.keys()].sort().at(-1) ?? null
    if (this.leaf === id) this.leaf = parent ?? this.newest
  }

  /** The branch that ends with a message, as far up as it is loaded. */
  path(leaf) {
    const ids = []
    for (let message = this.messages.get(leaf); message; message = this.messages.get(message.parent_id)) {
      ids.push(message.id)
    }
    return ids.reverse()
  }

  /** The messages that may stand in a message's place, oldest first. */
  versions(id) {
    return this.#children.get(this.messages.get(id)?.parent_id ?? null) ?? [id]
  }

  /** The end of the newest branch on which a message is. */
  leafBelow(id) {
    let children
    while ((children = this.#children.get(id)) && children.length) id = children.at(-1)
    return id
  }
}
