import { InvalidArgumentError } from '@vouchsafe/sev';

/** Bytes of a policy's text: room for some ten thousand digests. */
const largestText = 1_048_576;
const deepestNesting = 24;
const mostOperators = 64;
const longestPath = 12;

/** What matters of a policy's text: strings and comments are passed over, not read. */
const tokens =
  /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|&&|\|\||[-+*!;()[\]{}]|(?:\s*\.\s*\w+)+|\b(?:if|has|in|is|like)\b/gs;

/**
 * Refuses policies that Cedar's parser could choke on: it recurses, and a deep expression would end it for every policy.
 * @throws InvalidArgumentError naming the limit
 */
export function requireWithinLimits(text: string): void {
  const refuse = (what: string, limit: number): never => {
    throw new InvalidArgumentError('policy', `${what}, the limit is ${limit}`, {
      hint: 'write a list of values as a set, [a, b].contains(x), and a long rule as several',
    });
  };
  if (new TextEncoder().encode(text).length > largestText) refuse('too many bytes', largestText);
  let depth = 0;
  let operators = 0;
  for (const [token] of text.matchAll(tokens)) {
    if (token.startsWith('"') || token.startsWith('//')) continue;
    if (token === ';') operators = 0;
    else if ('([{'.includes(token)) depth += 1;
    else if (')]}'.includes(token)) depth -= 1;
    else if (!token.includes('.')) operators += 1;
    else if (token.split('.').length - 1 > longestPath) refuse('too long a path of attributes', longestPath);
    if (depth > deepestNesting) refuse('brackets nested too deeply', deepestNesting);
    if (operators > mostOperators) refuse('too many operators in one rule', mostOperators);
  }
}
