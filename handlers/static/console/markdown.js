/** Markdown, as models write it, made into elements. No text ever becomes markup. */

import { copyButton, h } from "./dom.js"

const SCHEMES = new Set(["http:", "https:", "mailto:"])
const DEEPEST = 12 // quotes and lists in each other, and emphasis; what is deeper stays text
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)/
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/
const QUOTE = /^ {0,3}> ?/
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(\s+|$)/
const DIVIDER = /^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$/

/** The URL of a link that may be followed, or null. */
export function safeUrl(text) {
  try {
    const url = new URL(text)
    return SCHEMES.has(url.protocol) ? url.href : null
  } catch {
    return null
  }
}

/** Show a text in `box`. What is already there of it stays, so a text that grows costs its end. */
export function render(box, text) {
  const blocks = parse(text.split("\n"))
  let level = 2 // the article's own heading
  const wanted = blocks.map((block) => {
    // A heading is at most one level below the one before it, as those who jump by them expect.
    if (block.level) level = Math.min(block.level + 2, level + 1, 6)
    return { block, source: `${block.level ? level : ""}${block.kind}\n${block.lines.join("\n")}`, level }
  })
  const known = box.sources ?? []
  let same = 0
  while (same < known.length && same < wanted.length && known[same] === wanted[same].source) same += 1
  while (box.childNodes.length > same) box.lastChild.remove()
  for (const { block, level } of wanted.slice(same)) box.append(elementOf(block, level, 0))
  box.sources = wanted.map(({ source }) => source)
}

/** The blocks of some lines, each with the lines that it is made of. */
function parse(lines) {
  const blocks = []
  let index = 0
  const take = (kind, end, more = {}) => {
    blocks.push({ kind, lines: lines.slice(index, end), ...more })
    index = end
  }
  while (index < lines.length) {
    const line = lines[index]
    if (!line.trim()) {
      index += 1
      continue
    }
    const fence = FENCE.exec(line)
    if (fence) {
      let end = index + 1
      const closes = (other) => other.trimStart().startsWith(fence[1]) && !other.trim().replaceAll(fence[1][0], "")
      while (end < lines.length && !closes(lines[end])) end += 1
      take("code", Math.min(end + 1, lines.length), { language: fence[2], isClosed: end < lines.length })
    } else if (HEADING.test(line)) {
      take("heading", index + 1, { level: HEADING.exec(line)[1].length })
    } else if (RULE.test(line)) {
      take("rule", index + 1)
    } else if (QUOTE.test(line)) {
      let end = index + 1
      while (end < lines.length && lines[end].trim() && !opens(lines[end], true)) end += 1
      take("quote", end)
    } else if (ITEM.test(line)) {
      take("list", endOfList(lines, index))
    } else if (line.includes("|") && DIVIDER.test((lines[index + 1] ?? "").trim())) {
      let end = index + 2
      while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1
      take("table", end)
    } else {
      let end = index + 1
      while (end < lines.length && lines[end].trim() && !opens(lines[end], false)) end += 1
      take("paragraph", end)
    }
  }
  return blocks
}

/** Whether a line begins another block than a paragraph, or than a quote. */
function opens(line, inQuote) {
  const isQuote = QUOTE.test(line)
  if (inQuote && isQuote) return false
  // "1990. A good year" in the midst of a text is no list.
  const item = ITEM.exec(line)
  const isItem = item && (item[2].length === 1 || item[2].startsWith("1")) && item[3] !== ""
  return isQuote || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isItem
}

function endOfList(lines, begin) {
  const [, indent, mark] = ITEM.exec(lines[begin])
  const isOrdered = /\d/.test(mark)
  let end = begin + 1
  for (; end < lines.length; end += 1) {
    const line = lines[end]
    if (!line.trim()) {
      const next = lines.slice(end).find((other) => other.trim())
      if (next === undefined || !(ITEM.test(next) || /^\s{2,}/.test(next))) break
      continue
    }
    const item = ITEM.exec(line)
    if (item) {
      const isOther = item[1].length <= indent.length && /\d/.test(item[2]) !== isOrdered
      if (isOther || (RULE.test(line) && item[1].length === 0)) break
    } else if (!/^\s{2,}/.test(line) && (opens(line, false) || !lines[end - 1].trim())) break
  }
  while (!lines[end - 1].trim()) end -= 1
  return end
}

function elementOf(block, level, depth) {
  const { kind, lines } = block
  if (depth > DEEPEST) return h("p", { dir: "auto" }, lines.join("\n"))
  switch (kind) {
    case "code":
      return codeOf(lines.slice(1, block.isClosed ? -1 : undefined).join("\n"), block.language)
    case "heading":
      return withInline(h(`h${level}`, { dir: "auto" }), HEADING.exec(lines[0])[2].trim().replace(/\s#+$/, ""))
    case "rule":
      return h("hr")
    case "quote":
      return quoteOf(within(lines.map((line) => line.replace(QUOTE, "")), level, depth))
    case "list":
      return listOf(lines, level, depth)
    case "table":
      return tableOf(lines)
    default:
      return withInline(h("p", { dir: "auto" }), lines.map((line) => line.trimStart()).join("\n"))
  }
}

function within(lines, level, depth) {
  return parse(lines).map((block) => elementOf(block, Math.min(level + 1, 6), depth + 1))
}

/** Its direction is that of its text, which `auto` does not see in elements with a `dir` of their own. */
function quoteOf(blocks) {
  for (const block of blocks) if (block.localName === "p") block.removeAttribute("dir")
  return h("blockquote", { dir: "auto" }, ...blocks)
}

export function codeOf(text, language = "") {
  return h(
    "figure",
    { class: "code", dir: "ltr" },
    h("figcaption", {}, h("span", {}, language.slice(0, 40)), copyButton("Copy code", () => text)),
    h("pre", { tabindex: "0" }, h("code", {}, text)),
  )
}

function listOf(lines, level, depth) {
  const [, indent, first] = ITEM.exec(lines[0])
  const items = []
  for (const line of lines) {
    const item = ITEM.exec(line)
    if (item && item[1].length < indent.length + 2) {
      const width = item[1].length + item[2].length + Math.min(item[3].length || 1, 4)
      items.push({ width, lines: [line.slice(item[0].length)] })
    } else {
      const { width, lines: taken } = items.at(-1)
      const space = line.length - line.trimStart().length
      taken.push(line.slice(Math.min(space, width)))
    }
  }
  const isLoose = lines.some((line) => !line.trim())
  const list = /\d/.test(first) ? h("ol", { start: parseInt(first), dir: "auto" }) : h("ul", { dir: "auto" })
  for (const { lines: of } of items) {
    const task = /^\[([ xX])\]\s+/.exec(of[0])
    if (task) of[0] = of[0].slice(task[0].length)
    const blocks = parse(of)
    const item = h("li", { class: task && "task" })
    if (task) item.append(task[1] === " " ? "☐ " : "☑ ")
    for (const block of blocks) {
      if (block.kind === "paragraph" && !isLoose) {
        withInline(item, block.lines.map((line) => line.trimStart()).join("\n"))
      } else item.append(elementOf(block, Math.min(level + 1, 6), depth + 1))
    }
    list.append(item)
  }
  return list
}

function cellsOf(line) {
  const cells = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/)
  return cells.map((cell) => cell.trim().replaceAll("\\|", "|"))
}

function tableOf([head, divider, ...rows]) {
  const sides = cellsOf(divider).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "end") : null,
  )
  const cell = (name, text, column) => withInline(h(name, { class: sides[column] }), text)
  const columns = cellsOf(head)
  return h(
    "div",
    { class: "table", tabindex: "0" },
    h(
      "table",
      { dir: "auto" },
      h("thead", {}, h("tr", {}, ...columns.map((text, column) => cell("th", text, column)))),
      h(
        "tbody",
        {},
        ...rows.map((row) => {
          const cells = cellsOf(row)
          return h("tr", {}, ...columns.map((_, column) => cell("td", cells[column] ?? "", column)))
        }),
      ),
    ),
  )
}

function withInline(element, text) {
  inline(element, text, 0)
  return element
}

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g

/** Append a text with its emphasis, code and links to an element. */
function inline(element, text, depth) {
  // What is not closed anywhere behind one place is not closed behind a later one: so a text of
  // nothing but marks takes no more time than another.
  const unclosed = new Set()
  let plain = ""
  let index = 0
  const put = (node, end) => {
    if (plain) element.append(plain)
    plain = ""
    element.append(node)
    index = end
  }
  const between = (name, begin, end, close) => {
    const inner = h(name)
    inline(inner, text.slice(begin, end), depth + 1)
    put(inner, close)
  }
  while (index < text.length) {
    SPECIAL.lastIndex = index
    const found = depth > DEEPEST ? null : SPECIAL.exec(text)
    const at = found ? found.index : text.length
    plain += text.slice(index, at)
    index = at
    if (!found) break
    const mark = found[0]
    if (mark === "\n") {
      plain = plain.replace(/[ \\]+$/, "")
      put(h("br"), index + 1)
    } else if (mark === "\\") {
      const next = text[index + 1] ?? ""
      const isEscape = /[!-/:-@[-`{-~]/.test(next)
      plain += isEscape ? next : "\\"
      index += isEscape ? 2 : 1
    } else if (mark === "`") {
      const run = /^`+/.exec(text.slice(index, index + 100))[0]
      const end = unclosed.has(run) ? -1 : closeOf(text, run, index + run.length)
      if (end < 0) {
        unclosed.add(run)
        plain += run
        index += run.length
      } else {
        const code = text.slice(index + run.length, end).replaceAll("\n", " ")
        put(h("code", { dir: "ltr" }, /^ .*\S.* $/.test(code) ? code.slice(1, -1) : code), end + run.length)
      }
    } else if (mark === "*" || mark === "_" || mark === "~") {
      const run = new RegExp(`^\\${mark}{1,3}`).exec(text.slice(index, index + 3))[0]
      const end = unclosed.has(run) ? -1 : emphasisEnd(text, run, index)
      if (mark === "~" && run.length !== 2) {
        plain += run
        index += run.length
      } else if (end < 0) {
        if (canOpen(text, run, index)) unclosed.add(run)
        plain += run
        index += run.length
      } else if (run.length === 3) {
        const inner = h("em")
        inline(inner, text.slice(index + 3, end), depth + 1)
        put(h("strong", {}, inner), end + 3)
      } else {
        between(mark === "~" ? "s" : run.length === 2 ? "strong" : "em", index + run.length, end, end + run.length)
      }
    } else if (mark === "[" || mark === "!") {
      const isImage = mark === "!"
      const link = isImage && text[index + 1] !== "[" ? null : linkAt(text, isImage ? index + 1 : index)
      const url = link && safeUrl(link.target)
      if (!link) {
        plain += mark
        index += 1
      } else if (!url) {
        if (plain) element.append(plain)
        plain = ""
        inline(element, link.label, depth + 1)
        index = link.end
      } else {
        const anchor = anchorTo(url)
        // An image is a link to it: loading it would tell its server who reads this.
        if (isImage) {
          anchor.className = "image"
          anchor.append(`Image: ${link.label || url}`)
        } else inline(anchor, link.label || url, depth + 1)
        put(anchor, link.end)
      }
    } else if (mark === "<") {
      const link = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/.exec(text.slice(index, index + 2000))
      const url = link && safeUrl(link[1])
      if (url) put(anchorTo(url, link[1]), index + link[0].length)
      else {
        plain += "<"
        index += 1
      }
    } else {
      const bare = /^https?:\/\/[^\s<>"'`|\\^{}]+/.exec(text.slice(index, index + 2000))?.[0] ?? mark
      let address = bare.replace(/[.,;:!?*_~]+$/, "")
      if (address.endsWith(")") && !address.includes("(")) address = address.replace(/\)+$/, "")
      const url = element.closest?.("a") || element.localName === "a" ? null : safeUrl(address)
      if (url) put(anchorTo(url, address), index + address.length)
      else {
        plain += mark
        index += mark.length
      }
    }
  }
  if (plain) element.append(plain)
}

/** Where a run of backticks of the same length is. */
function closeOf(text, run, from) {
  for (let at = text.indexOf(run, from); at >= 0; at = text.indexOf(run, at)) {
    let end = at
    while (text[end] === "`") end += 1
    if (end - at === run.length) return at
    at = end
  }
  return -1
}

const WORD = /[\p{L}\p{N}]/u
const isSpace = (letter) => letter === undefined || /\s/.test(letter)

function canOpen(text, run, at) {
  if (isSpace(text[at + run.length])) return false
  return run[0] !== "_" || !WORD.test(text[at - 1] ?? " ")
}

function emphasisEnd(text, run, begin) {
  if (!canOpen(text, run, begin)) return -1
  const mark = run[0]
  for (let at = text.indexOf(run, begin + run.length + 1); at >= 0; at = text.indexOf(run, at)) {
    let end = at
    while (text[end] === mark) end += 1
    const fits = end - at === run.length || (end - at > run.length && run.length < 3 && end - at !== 2)
    const isInWord = mark === "_" && WORD.test(text[end] ?? " ")
    if (fits && !isSpace(text[at - 1]) && !isInWord && text[at - 1] !== "\\") return end - run.length
    at = end
  }
  return -1
}

const LONGEST_LABEL = 500

/** The link `[label](target "title")` that begins at `[`, or null. */
function linkAt(text, begin) {
  let depth = 0
  for (let at = begin; at < text.length && at < begin + LONGEST_LABEL; at += 1) {
    if (text[at] === "\\") at += 1
    else if (text[at] === "[") depth += 1
    else if (text[at] === "]" && --depth === 0) {
      const rest = /^\(\s*(?:<([^<>\n]*)>|((?:[^\s()]|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/
      const target = rest.exec(text.slice(at + 1, at + 3000))
      if (!target) return null
      return { label: text.slice(begin + 1, at), target: target[1] ?? target[2], end: at + 1 + target[0].length }
    }
  }
  return null
}

function anchorTo(url, ...children) {
  return h("a", { href: url, title: url, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children)
}
