/* Show the API's document. Nothing is asked of other servers: no validator, no fonts. */

// This file's own address is `…/docs/{version}/docs.js`, also below a stage of API Gateway.
const root = new URL("../../", document.currentScript.src)

window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", root).href,
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  requestSnippetsEnabled: false,
  validatorUrl: null,
})
