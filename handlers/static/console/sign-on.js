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
  sessionStorage.removeItem(STORED)
  // The code stays in no address, and so in no history.
  history.replaceState(null, "", PAGE + (begun.hash ?? ""))
  const isOurs = begun.state && told.get("state") === begun.state
  const isTheirs = [null, provider?.issuer].includes(told.get("iss")) // RFC 9207
  if (!provider?.token_endpoint || !isOurs || !isTheirs) throw new Error("This sign-on was not begun here. Try again.")
  if (told.has("error")) throw new Error(`${provider.name} refused: ${told.get("error_description") ?? told.get("error")}.`)
  const token = await redeem(told.get("code"), begun.verifier)
  const claims = new TextDecoder().decode(
    Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (byte) => byte.charCodeAt(0)),
  )
  if (JSON.parse(claims).nonce !== begun.nonce) throw new Error("The token is of another sign-on. Try again.")
  api.keep({ key: "", user: "", token })
}

/** The ID token for a code. The server checks it with each request. */
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
  if (!answer.id_token) throw new Error(`${provider.name} refused: ${answer.error_description ?? answer.error}.`)
  return answer.id_token
}
