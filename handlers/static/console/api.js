/** Confab's public API: who is calling, requests, problems, pages and events. */

import { sleep } from "./dom.js"

// A module's own address is `…/console/{version}/api.js`, also below a stage of API Gateway.
const ROOT = new URL("../../", import.meta.url)
const STORED = "confab"

/** The address of what the service has under a path. */
export const addressOf = (path) => new URL(path, ROOT).href

/** An answer of the service that is no success (RFC 9457). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `The server answered ${status}.`)
    this.status = status
    this.title = body.title ?? "The request failed"
    this.kind = (body.type ?? "").replace("/problems/", "")
    this.instance = body.instance
  }
}

/** No answer came. */
export class Unreachable extends Error {
  constructor() {
    super("There is no connection to the server.")
    this.title = "No connection"
  }
}

/** Who is calling, and for which project. It lasts as long as the tab, and is sent in headers only. */
export const session = {
  key: "",
  token: "",
  user: "",
  project: "",
  ...JSON.parse(sessionStorage.getItem(STORED) ?? "{}"),
}

export function keep(changes) {
  Object.assign(session, changes)
  sessionStorage.setItem(STORED, JSON.stringify(session))
}

export function forget() {
  sessionStorage.clear()
  Object.assign(session, { key: "", token: "", user: "", project: "" })
}

let reachable = true

/** Tell the page whether the service can be reached. */
function tell(now) {
  if (now === reachable) return
  reachable = now
  document.dispatchEvent(new CustomEvent("reachable", { detail: now }))
}

export const isReachable = () => reachable

function headersOf(more) {
  const headers = { ...more }
  if (session.key) headers["X-API-Key"] = session.key
  if (session.token) headers["Authorization"] = `Bearer ${session.token}`
  // A header holds bytes; the service reads them as UTF-8.
  if (session.user) {
    headers["X-User-Id"] = String.fromCharCode(...new TextEncoder().encode(session.user))
  }
  return headers
}

async function send(method, path, { query = {}, body, headers = {}, signal } = {}) {
  const url = new URL(path, ROOT)
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) {
      if (each !== undefined && each !== null) url.searchParams.append(name, each)
    }
  }
  const sent = headersOf(headers)
  if (body !== undefined) sent["Content-Type"] = "application/json"
  let response
  try {
    response = await fetch(url, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
    })
  } catch (error) {
    if (error.name === "AbortError") throw error
    tell(false)
    throw new Unreachable()
  }
  tell(true)
  if (response.ok) return response
  const problem = new Problem(response.status, await response.json().catch(() => ({})))
  if (response.status === 401) document.dispatchEvent(new CustomEvent("refused", { detail: problem }))
  throw problem
}

/** The body of an answer, of one that has any. */
async function bodyOf(response) {
  if (response.status === 204) return null
  try {
    return await response.json()
  } catch (error) {
    if (error.name === "AbortError") throw error
    tell(false) // the connection broke within the answer
    throw new Unreachable()
  }
}

export const get = async (path, query, signal) => bodyOf(await send("GET", path, { query, signal }))
export const post = async (path, body, headers) => bodyOf(await send("POST", path, { body, headers }))
export const patch = async (path, body) => bodyOf(await send("PATCH", path, { body }))
export const remove = async (path) => bodyOf(await send("DELETE", path))

/** A page of a list, with the cursor of the next one, or null. */
export async function page(path, query, signal) {
  const response = await send("GET", path, { query, signal })
  const next = /<([^>]*)>; rel="next"/.exec(response.headers.get("Link") ?? "")
  const cursor = next && new URL(next[1], ROOT).searchParams.get("cursor")
  return { body: await bodyOf(response), cursor }
}

/** A conversation without its messages, and the id of its newest event. */
export async function conversation(id, signal) {
  const query = { include_messages: false }
  const response = await send("GET", `api/v1/conversations/${id}`, { query, signal })
  const position = /\d+/.exec(response.headers.get("ETag") ?? "0")[0]
  return { conversation: await bodyOf(response), position }
}

/** A file, with its text and its name. */
export async function file(path, query) {
  const response = await send("GET", path, { query })
  const told = response.headers.get("Content-Disposition") ?? ""
  const encoded = /filename\*=UTF-8''([^;]+)/.exec(told)
  const name = encoded ? decodeURIComponent(encoded[1]) : /filename="([^"]+)"/.exec(told)?.[1]
  return new File([await response.blob()], name ?? "conversation")
}

/** The events of one response, as they come. (An EventSource cannot send a key.) */
async function* events(path, lastEventId, signal) {
  const headers = { "Last-Event-ID": lastEventId, Accept: "text/event-stream" }
  const response = await send("GET", path, { query: { live: true }, headers, signal })
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  let event = {}
  while (true) {
    const { value, done } = await reader.read()
    if (done) return
    const lines = (rest + value).split("\n")
    rest = lines.pop()
    for (const line of lines) {
      const colon = line.indexOf(": ")
      if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2)
      else if (line === "" && event.data) {
        yield { id: event.id, name: event.event, data: JSON.parse(event.data) }
        event = {}
      }
    }
  }
}

/** Call `on` with each event of a conversation, over all interruptions, until it is gone. */
export async function follow(id, position, signal, on) {
  for await (const event of again(signal, () => events(`api/v1/conversations/${id}/events`, position, signal))) {
    position = event.id
    on(event)
  }
}

/** Call `on` with what changed behind a cursor, over all interruptions. */
export async function followChanges(query, signal, on) {
  async function* once() {
    const found = await get("api/v1/changes", query, signal)
    query = { ...query, after: found.cursor }
    yield found
  }
  for await (const found of again(signal, once)) on(found)
}

const PAUSE = 500 // milliseconds after which is asked again, as /events itself says
const LONGEST_PAUSE = 4000

/** All that the responses yield that `ask` gets, one after the other. */
async function* again(signal, ask) {
  let pause = PAUSE
  while (!signal.aborted) {
    const began = performance.now()
    try {
      yield* ask()
      pause = PAUSE
      // Where a server does not wait, the page does.
      if (performance.now() - began < 100) await sleep(PAUSE)
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.status < 500 && error.status !== 429)) {
        if (error.name === "AbortError" || signal.aborted) return
        throw error
      }
      if (!(error instanceof Problem)) tell(false)
      await sleep(pause)
      pause = Math.min(2 * pause, LONGEST_PAUSE)
    }
  }
}
