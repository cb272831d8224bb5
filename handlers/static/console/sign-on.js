/** Sign-on by the identity provider: OpenID Connect's authorization code with PKCE (RFC 7636). */

import * as api from "./api.js"

const STORED = "confab-sign-on"

/** The provider, as the page names it: its name, the client, and the two endpoints, unless it is away. */
export const provider = JSON.parse(document.querySelector('meta[name="sign-on"]').content)

/** The page itself, where the provider sends people back to. */
const PAGE = api.addressOf("console")

const encoded = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")
const random = () => encoded(crypto.getRandomValues(new Uint8Array(32)))

/** Leave for the provider. */
export async function begin() {
  if (!crypto.subtle) throw new Error("Signing on needs https, or a server on this machine.")
  const begun = { state: random(), nonce: random(), verifier: random(), hash: location.hash }
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(begun.verifier))
  sessionStorage.setItem(STORED, JSON.stringify(begun))
  const address = new URL(provider.authorization_endpoint)
  for (const [name, value] of Object.entries({
    response_type: "code",
    client_id: provider.client_id,
    redirect_uri: PAGE,
    scope: "openid profile email",
    state: begun.state,
    nonce: begun.nonce,
    code_challenge: encoded(new Uint8Array(digest)),
    code_challenge_method: "S256",
  })) {
    address.searchParams.set(name, value)
  }
  location.assign(address)
}

/** Back from the provider: get the token, and go where one was. An Error says why there is none. */
export async function finish() {
  const told = new URLSearchParams(location.search)
  const begun = JSON.parse(sessionStorage.getItem(STORED) ?? "{}")
  const isOurs = begun.state && told.get("state") === begun.state
  // The code stays in no address, and so in no history.
  history.replaceState(null, "", PAGE + (isOurs ? begun.hash : location.hash))
  if (!isOurs && (api.session.key || api.session.token)) return // a link, or the way back
  if (!isOurs) throw new Error("This sign-on was not begun here. Try again.")
  sessionStorage.removeItem(STORED)
  if (!provider?.token_endpoint) throw new Error("The provider does not answer this server. Try again.")
  const issuer = told.get("iss") // RFC 9207
  if (issuer !== null && issuer !== provider.issuer) throw new Error("Another provider has answered. Try again.")
  if (told.has("error")) throw new Error(`${provider.name} refused: ${told.get("error_description") ?? told.get("error")}.`)
  const token = await redeem(told.get("code"), begun.verifier)
  const { nonce, sub } = claimsOf(token)
  if (nonce !== begun.nonce) throw new Error("The token is of another sign-on. Try again.")
  if (sub !== api.session.subject) api.forget() // drafts and all
  api.keep({ key: "", user: "", token, subject: sub })
}

/** What a token says. The server checks it with each request. */
function claimsOf(token) {
  try {
    const bytes = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))
    return { ...JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)))) }
  } catch {
    throw new Error(`${provider.name} gave no ID token.`)
  }
}

/** The ID token for a code. */
async function redeem(code, verifier) {
  let answer
  try {
    const response = await fetch(provider.token_endpoint, {
      method: "POST",
      credentials: "omit",
      body: new URLSearchParams({
        grant_type: "authorization_code",
        client_id: provider.client_id,
        redirect_uri: PAGE,
        code,
        code_verifier: verifier,
      }),
    })
    answer = await response.json()
  } catch {
    throw new Error(`${provider.name} does not answer this page. It may have to be told of its address.`)
  }
  const why = answer?.error_description ?? answer?.error
  if (why) throw new Error(`${provider.name} refused: ${why}.`)
  return answer?.id_token
}
