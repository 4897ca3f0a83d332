import { open } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { type Appraisal, type CheckStatus, InvalidArgumentError } from '@vouchsafe/sev';
import { appraisalResult } from '../../../frame/appraisal.js';
import { command, type Result } from '../../../frame/command.js';
import { fileError } from '../../../frame/files.js';
import { choice, instant, number, path, required, text, withDefault } from '../../../frame/options.js';
import { harmless } from '../../../frame/screen.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';

export interface EntryAnswer {
  readonly replica: string;
  readonly sequence: number;
  readonly reference: string;
  readonly at: string;
  readonly kind: string;
  readonly subject?: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const kinds = [
  'challenge',
  'appraisal',
  'decision',
  'release',
  'launch',
  'administration',
  'broker',
] as const;

export const tail = command({
  description: 'Shows the newest entries of the record, oldest first.',
  arguments: {},
  options: {
    limit: withDefault(number('--limit <n>', 'so many', { least: 1, most: 1000 }), 20),
    kind: choice('--kind <kind>', 'only these', kinds),
    subject: text('--subject <text>', 'only about this, such as the path of a secret'),
    since: instant('--since <date>', 'only from then on'),
    ...clientOptions,
  },
  examples: [
    { line: 'broker audit tail', explains: 'the last twenty' },
    { line: 'broker audit tail --kind release --subject disks/luks/web1', explains: 'who got a secret' },
  ],
  async run(input, { io }): Promise<Result> {
    const { limit, kind, subject, since } = input;
    const query = new URLSearchParams({
      limit: String(limit),
      ...(kind === undefined ? {} : { kind }),
      ...(subject === undefined ? {} : { subject }),
      ...(since === undefined ? {} : { since: new Date(since).toISOString() }),
    });
    const broker = await connectBroker(input, io);
    const entries = await broker.ask<EntryAnswer[]>('GET', `/audit/entries?${query}`);
    return {
      exit: 0,
      json: entries,
      render: (screen) =>
        screen.table(
          ['time', 'number', 'kind', 'about', 'what'],
          entries.map((entry) => [entry.at, entry.reference, entry.kind, aboutOf(entry), gist(entry)]),
        ),
    };
  },
});

const aboutOf = ({ kind, subject = '' }: EntryAnswer) =>
  harmless(kind === 'appraisal' || kind === 'challenge' ? subject.slice(0, 12) : subject);

/** An entry in a few words. */
export function gist({ kind, body }: EntryAnswer): string {
  const word = (name: string) => harmless(String(body[name] ?? ''));
  if (kind === 'decision')
    return body['allowed'] === true ? `allowed by ${word('rule')}` : `denied by ${word('rule')}`;
  if (kind === 'appraisal')
    return body['accepted'] === true ? 'accepted' : `refused: ${harmless(String(body['failed'] ?? ''))}`;
  if (kind === 'release') return `version ${word('version')}${body['again'] === true ? ', again' : ''}`;
  if (kind === 'administration') return `${word('act')} by ${word('by')}`;
  return word('event');
}

export const verify = command({
  description:
    'Verifies the whole record: hash chains, checkpoints, what the tables of secrets say, and the checkpoint outside the ' +
    'database. Names the first entries that are not as they were written.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker audit verify', explains: 'exit status 1 when something was changed' }],
  async run(input, { io, progress }): Promise<Result> {
    progress.step('reading the record');
    const answer = await (await connectBroker(input, io)).ask<{
      checks: { id: string; status: CheckStatus; expected?: string; found?: string; hint?: string }[];
    }>('GET', '/audit/verify');
    const { recordChecks } = await import('@vouchsafe/broker/documents');
    const appraisal: Appraisal = {
      subject: 'record',
      checks: answer.checks.map((check) => {
        const { title, kind } = recordChecks[check.id as keyof typeof recordChecks] ?? {
          title: check.id,
          kind: 'authenticity' as const,
        };
        return { ...check, title, kind };
      }),
    };
    return appraisalResult(appraisal);
  },
});

export const exportRecord = command({
  description:
    'Writes the whole record into a file: a line of JSON for each entry and each checkpoint, with the hashes that link ' +
    'them.',
  arguments: {},
  options: { out: required(path('--out <file>', 'where it goes')), ...clientOptions },
  examples: [{ line: 'broker audit export --out record.ndjson', explains: 'to keep elsewhere' }],
  async run(input, { io }): Promise<Result> {
    const broker = await connectBroker(input, io);
    const { out } = input;
    let count = 0;
    try {
      const stream = (await open(out, 'wx', 0o600)).createWriteStream();
      try {
        await broker.lines('/audit/export', (line) => {
          count += 1;
          stream.write(`${line}\n`);
        });
      } finally {
        stream.end();
        await finished(stream);
      }
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST')
        throw new InvalidArgumentError('--out', `${out} exists already`);
      throw fileError(error, 'record', out, 'write');
    }
    return {
      exit: 0,
      json: { file: out, lines: count },
      render: (screen) => screen.line(`Wrote ${count} lines to ${out}`),
    };
  },
});
