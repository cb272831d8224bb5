// OpenAI's client without a page: `node openai.mjs http://localhost:8000/v1`.
// It takes a call in each line of its input, and answers each with a line.

import { createInterface } from "node:readline"
import OpenAI from "openai"

const [baseURL] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey: "sk-no-key-of-ours", maxRetries: 0, organization: null, project: null })

async function all(iterable) {
  const found = []
  for await (const each of iterable) found.push(each)
  return found
}

// `name` is where the function is in the client, such as `conversations.items.list`.
const ways = {
  once: (start) => start(),
  list: (start) => all(start()),
  events: async (start) => all(await start()),
  final: (start) => start().finalResponse(),
}
for await (const line of createInterface({ input: process.stdin })) {
  const { name, way, args, options } = JSON.parse(line)
  const path = name.split(".")
  const method = path.pop()
  const resource = path.reduce((at, step) => at[step], client.withOptions(options))
  try {
    console.log(JSON.stringify({ result: await ways[way](() => resource[method](...args)) }))
  } catch (error) {
    const { status, type, param, code, message } = error
    console.log(JSON.stringify({ error: { class: error.constructor.name, status, type, param, code, message } }))
  }
}
