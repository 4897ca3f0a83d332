import { type Message, parseStrictJson } from '@vouchsafe/protocol';
import { MalformedError } from '@vouchsafe/sev';
import { parse } from 'smol-toml';

/** Reads a settings file: JSON where it begins with a brace, else TOML. @throws MalformedError that does not repeat it */
export function readSettings<T>(settings: Message<T>, text: string): T {
  return settings.parse(
    /^\s*\{/.test(text) ? parseStrictJson(settings.name, text) : tomlOf(settings.name, text),
  );
}

function tomlOf(structure: string, text: string): unknown {
  try {
    return parse(text);
  } catch {
    // The cause is left out: its message shows the lines around the mistake.
    throw new MalformedError({
      structure,
      field: '/',
      offset: 0,
      expected: 'TOML or JSON',
      found: 'neither',
    });
  }
}
