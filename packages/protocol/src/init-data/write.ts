import { InvalidArgumentError } from '@vouchsafe/sev';
import { stringify } from 'smol-toml';
import { type InitDataHash, parseInitData } from '../rcar/init-data.js';

/**
 * Writes init-data: TOML whose digest {@link initDataDigest} gives. Files stand in it as they are, where TOML can say so,
 * so that whoever reviews the document reads them.
 * @param files by name; usual names are `aa.toml`, `cdh.toml` and `policy.rego`
 * @throws InvalidArgumentError for an empty name, and for text that TOML cannot hold
 */
export function initDataText(
  files: Readonly<Record<string, string>>,
  algorithm: InitDataHash = 'sha256',
): string {
  const entries = Object.entries(files).map(([name, text]) => {
    if (name === '') throw new InvalidArgumentError('init-data', 'every file needs a name');
    return `${JSON.stringify(name)} = ${isLiteral(text) ? `'''\n${text}'''` : quoted(text)}\n`;
  });
  const toml = `version = "0.1.0"\nalgorithm = "${algorithm}"\n\n[data]\n${entries.join('')}`;
  const { data } = parseInitData(toml);
  for (const [name, text] of Object.entries(files)) {
    if (data[name] !== text)
      throw new InvalidArgumentError('init-data', `TOML cannot hold ${JSON.stringify(name.slice(0, 64))}`);
  }
  return toml;
}

/** Whether TOML's literal form says the text as it is: no quotes that end it, no characters that it refuses or changes. */
function isLiteral(text: string): boolean {
  return !text.includes("'''") && !text.endsWith("'") && /^[\t\n\P{Cc}]*$/u.test(text);
}

function quoted(text: string): string {
  return stringify({ text }).trimEnd().slice('text = '.length);
}
