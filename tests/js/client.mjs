// A chat of the AI SDK without a page: `node client.mjs ai7 http://localhost:8000/api/chat ID`.
// It takes a command in each line of its input, and writes a line whenever its state changes.

import { createInterface } from "node:readline"

const [sdk, api, id] = process.argv.slice(2)
const { AbstractChat, DefaultChatTransport } = await import(sdk)
const url = `${api}/${encodeURIComponent(id)}`

class State {
  #status = "ready"
  #messages
  #error
  constructor(messages) { this.#messages = messages }
  get status() { return this.#status }
  set status(status) { this.#status = status; tell() }
  get error() { return this.#error }
  set error(error) { this.#error = error; tell() }
  get messages() { return this.#messages }
  set messages(messages) { this.#messages = [...messages]; tell() }
  pushMessage = (message) => { this.messages = [...this.#messages, message] }
  popMessage = () => { this.messages = this.#messages.slice(0, -1) }
  replaceMessage = (index, message) => {
    this.messages = this.#messages.map((old, at) => at === index ? structuredClone(message) : old)
  }
  snapshot = (thing) => structuredClone(thing)
}

class Chat extends AbstractChat {
  constructor({ messages, ...init }) { super({ ...init, state: new State(messages) }) }
}

function tell(more) {
  if (!chat) return
  const { status, messages, error } = chat
  console.log(JSON.stringify({ status, messages, error: error?.message, ...more }))
}

let chat
const loaded = await (await fetch(url)).json()
chat = new Chat({ ...loaded, transport: new DefaultChatTransport({ api }) })
tell({ loaded })

const commands = {
  send: ({ text }) => chat.sendMessage({ text }),
  edit: ({ text, messageId }) => chat.sendMessage({ text, messageId }),
  regenerate: ({ messageId }) => chat.regenerate({ messageId }),
  resume: () => chat.resumeStream(),
  hangUp: () => chat.stop(),
  stop: () => fetch(`${url}/stop`, { method: "POST" }),
}
for await (const line of createInterface({ input: process.stdin })) {
  const { does, ...fields } = JSON.parse(line)
  commands[does](fields).then(() => tell({ done: does }), (error) => tell({ failed: String(error) }))
}
process.exit(0)
