/**
 * Finds a member that an object in a JSON text has twice: `JSON.parse` would silently keep the last. Undefined when there
 * is none. The text need not be valid JSON; that is for the parser to say.
 */
export function duplicateMember(text: string): string | undefined {
  /** Names of the objects that are open, innermost last; undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  const tokens = text.matchAll(/"(?:[^"\\]|\\.)*"\s*(:)?|[{}[\]]/gs);
  for (const [token, colon] of tokens) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (colon !== undefined) {
      const name = nameOf(token.slice(0, token.lastIndexOf('"') + 1));
      const names = open.at(-1);
      if (names?.has(name)) return name;
      names?.add(name);
    }
  }
  return undefined;
}

/** Escapes may write one name in two ways. */
function nameOf(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted;
  }
}
