import { type Parts, released } from './folder.js';

export interface NextStep {
  /** Without `vouchsafe`. */
  readonly command: string;
  readonly explains: string;
}

/** Commands worth trying while it is up, all of which work as they stand. */
export function nextSteps(parts: Parts, broker: string, denial: string): NextStep[] {
  const data = `--data ${quoted(parts.broker)}`;
  const device = quoted(`socket:${parts.device}`);
  const owner = `--owner ${quoted(broker)}`;
  return [
    {
      command: `guest secrets get kbs:///${released} --broker ${quoted(broker)} --device ${device} --out disk.key --force`,
      explains: 'the SEV-SNP machine proves again what it is, and gets its disk key',
    },
    {
      command: `broker explain ${denial} ${data}`,
      explains: 'why it did not get the key of another machine',
    },
    {
      command: `host launch --software ${quoted(parts.host)} --authority ${quoted(parts.authority)} ${owner}`,
      explains: 'as SEV-ES the machine gets its disk key before it runs',
    },
    { command: `broker audit tail ${data}`, explains: 'what was asked, decided and released' },
    { command: `broker audit verify ${data}`, explains: 'nothing of that was changed since' },
  ];
}

/** For a shell. */
function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
