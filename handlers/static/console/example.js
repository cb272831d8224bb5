/** A conversation that shows what there is: Markdown, a tool, reasoning, and two answers to a question. */

import * as api from "./api.js"

const TABLE = `Here is what the three stores are for:

| store | keeps | choose it for |
| :--- | :--- | ---: |
| SQLite | one file | **one machine** |
| SQLite on EFS | one file, on a network | a few users |
| PostgreSQL | a server | many writers |

Start with the first. *Moving later is one command:*

\`\`\`sh
python -m db copy --to postgresql://user@host/name
\`\`\`
`

const SHORT = "SQLite in one file, until you outgrow one machine. Then `python -m db copy` moves every row to PostgreSQL."

const FOLLOW = `1. **Create** a conversation.
2. **Send** a message to \`/api/v1/chat\`.
3. **Follow** \`/events\`, which tells each piece of the answer:

\`\`\`js
const source = new EventSource(\`/api/v1/conversations/\${id}/events\`)
source.addEventListener("delta", ({ data }) => show(JSON.parse(data)))
\`\`\`

> Nothing is lost if the connection breaks: the browser goes on from the last event.

More is in the [reference](${api.addressOf("docs")}).`

/** Make it, and return its id. */
export async function makeExample(project) {
  const made = await api.post("api/v1/conversations", {
    project_id: project,
    title: "An example: where should messages be kept?",
    tags: ["example"],
    messages: [
      { role: "user", content: "Which database should I begin with?" },
      { role: "assistant", content: SHORT },
    ],
  })
  const messages = `api/v1/conversations/${made.id}/messages`
  await api.post(messages, { role: "assistant", content: TABLE, parent_id: made.messages[0].id })
  await api.post(messages, [
    { role: "user", content: "How large is ours now?" },
    {
      role: "assistant",
      content: [
        { type: "reasoning", text: "The size changes, so I look at the file instead of guessing." },
        { type: "tool_call", id: "call_1", name: "file_size", arguments: '{"path": "confab.db"}' },
      ],
    },
    { role: "tool", content: '{"bytes": 1331200}', metadata: { tool_call_id: "call_1" } },
    { role: "assistant", content: "It has 1.3 MB: about a thousand messages, with their search index." },
    { role: "user", content: "And how does a page show an answer while it is written?" },
    { role: "assistant", content: FOLLOW },
  ])
  return made.id
}
