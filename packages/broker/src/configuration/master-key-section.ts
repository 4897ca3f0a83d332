import { isDeepStrictEqual } from 'node:util';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { type MasterKeyPlace, parseBrokerConfiguration } from './configuration.js';

const ownHeader = /^\s*\[\s*master-key\s*(?:\.\s*vault\s*)?\]\s*(?:#|$)/;
const header = /^\s*\[/;
const ownMember = /^\s*master-key\s*[.=]/;
const memberless = /^\s*(?:#|$)/;

/**
 * The text of a `broker.toml` that names this master key instead; comments and everything else stay as they are.
 * @param name of the file, for errors
 * @throws InvalidArgumentError for a text whose master key is written in a way that cannot be told from the rest
 */
export function withMasterKey(text: string, place: MasterKeyPlace, name: string): string {
  const wanted = { ...parseBrokerConfiguration(text, name), 'master-key': place };
  const lines: string[] = [];
  let part: 'beginning' | 'master key' | 'other' = 'beginning';
  let hasHeader = false;
  let hasMembers = false;
  for (const line of text.split('\n')) {
    if (header.test(line)) {
      part = ownHeader.test(line) ? 'master key' : 'other';
      if (part === 'other') lines.push(line);
      else if (!hasHeader) lines.push('[master-key]');
      hasHeader ||= part === 'master key';
    } else if (part === 'master key' ? memberless.test(line) : part === 'other' || !ownMember.test(line)) {
      lines.push(line);
    } else if (!hasMembers) {
      const members = membersOf(place);
      lines.push(part === 'master key' ? members : `master-key = { ${members} }`);
      hasMembers = true;
    }
  }
  const changed = lines.join('\n');
  if (!saysSo(changed, wanted, name)) {
    throw new InvalidArgumentError(name, 'cannot find where it names the master key', {
      hint: 'write it as a section of its own: a line `[master-key]`, and below it one line, such as `file = "master.key"`',
    });
  }
  return changed;
}

function saysSo(text: string, wanted: object, name: string): boolean {
  try {
    return isDeepStrictEqual({ ...parseBrokerConfiguration(text, name) }, wanted);
  } catch {
    return false;
  }
}

function membersOf({ file, environment, vault }: MasterKeyPlace): string {
  const member = ([key, value]: readonly [string, string]) => `${key} = ${JSON.stringify(value)}`;
  if (file !== undefined) return member(['file', file]);
  if (environment !== undefined) return member(['environment', environment]);
  const given = Object.entries(vault ?? {}).filter((each) => each[1] !== undefined);
  return `vault = { ${given.map(([key, value]) => member([key, String(value)])).join(', ')} }`;
}
