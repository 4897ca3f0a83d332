import {
  generateIssuerKey,
  issuerOf,
  parseReferenceDocument,
  type ReferenceDocument,
  referenceFormat,
  signReferenceDocument,
} from '@vouchsafe/broker/documents';
import { parseStrictJson } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { readInput, writeOutputs } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import {
  argument,
  grouped,
  instant,
  number,
  path,
  repeated,
  required,
  text,
  withDefault,
} from '../../../frame/options.js';
import { harmless } from '../../../frame/screen.js';
import { connectBroker } from '../client.js';
import { clientOptions, filesIn } from '../data-folder.js';

type Key = Parameters<typeof signReferenceDocument>[1];

interface ReferenceAnswer {
  readonly issuer: string;
  readonly name: string;
  readonly version: number;
  readonly standing?: string;
  readonly notBefore: string;
  readonly notAfter: string;
}

const year = 365 * 24 * 3_600_000;

export const publish = command({
  description:
    'Signs reference values and publishes them: what a guest must measure to be known. A new version replaces the one ' +
    'before it; list the old and the new image side by side while guests are being replaced.',
  arguments: {},
  options: {
    from: path('--from <file>', 'a document of reference values in JSON, signed or to be signed'),
    key: path('--key <file>', 'private JWK that signs it (default: the one in the folder)'),
    ...grouped('Instead of a file', {
      measurement: repeated(text('--measurement <hex>', 'launch digest of an image, 48 bytes')),
      hostData: repeated(text('--host-data <hex>', 'digest of init-data, 32 bytes')),
      idKey: repeated(text('--id-key <hex>', 'digest of an ID key, 48 bytes')),
      name: withDefault(text('--name <name>', 'of the document'), 'images'),
      issuer: withDefault(text('--issuer <name>', 'as the broker knows the key'), 'owner'),
      documentVersion: number('--document-version <n>', 'higher than the one before (default: the next)', {
        least: 1,
        most: 2 ** 31,
      }),
      notBefore: instant('--not-before <date>', 'in force from (default: now)'),
      notAfter: instant('--not-after <date>', 'in force until (default: a year)'),
    }),
    ...clientOptions,
  },
  examples: [
    { line: 'broker reference publish --measurement HEX', explains: 'one image, for a year' },
    {
      line: 'broker reference publish --from values.json --key issuer.jwk',
      explains: 'a document of your own',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const broker = await connectBroker(input, io);
    const { name, issuer } = input;
    const nextVersion = async () => {
      const known = await broker.ask<ReferenceAnswer[]>('GET', '/reference-values');
      return (
        1 +
        Math.max(
          0,
          ...known.filter((each) => each.issuer === issuer && each.name === name).map((each) => each.version),
        )
      );
    };
    const signed = await signedDocument(input, nextVersion, io);
    const answer = await broker.ask<ReferenceAnswer>('POST', '/reference-values', { document: signed });
    return {
      exit: 0,
      json: { issuer: answer.issuer, name: answer.name, version: answer.version, notAfter: answer.notAfter },
      render: (screen) =>
        screen.line(
          `Published ${answer.issuer}/${answer.name}, version ${answer.version}, until ${answer.notAfter}`,
        ),
    };
  },
});

interface PublishInput {
  readonly data: string;
  readonly from?: string | undefined;
  readonly key?: string | undefined;
  readonly measurement: readonly string[];
  readonly hostData: readonly string[];
  readonly idKey: readonly string[];
  readonly name: string;
  readonly issuer: string;
  readonly documentVersion?: number | undefined;
  readonly notBefore?: number | undefined;
  readonly notAfter?: number | undefined;
}

async function signedDocument(
  input: PublishInput,
  nextVersion: () => Promise<number>,
  io: Io,
): Promise<string> {
  if (input.from !== undefined) {
    const content = new TextDecoder().decode(await readInput(input.from, '--from', io)).trim();
    if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(content)) return content;
    const document = parseReferenceDocument(parseStrictJson('reference values', content));
    return signReferenceDocument(document, await readKey(input, io));
  }
  if (input.measurement.length === 0)
    throw new InvalidArgumentError('--measurement', 'it has to be given, or a document with --from');
  const start = input.notBefore ?? Date.now();
  const values = (digests: readonly string[]) => digests.map((value) => ({ value: value.toLowerCase() }));
  const document: ReferenceDocument = parseReferenceDocument({
    format: referenceFormat,
    issuer: input.issuer,
    name: input.name,
    version: input.documentVersion ?? (await nextVersion()),
    notBefore: new Date(start).toISOString(),
    notAfter: new Date(input.notAfter ?? start + year).toISOString(),
    measurements: values(input.measurement),
    ...(input.hostData.length === 0 ? {} : { hostData: values(input.hostData) }),
    ...(input.idKey.length === 0 ? {} : { idKeyDigests: values(input.idKey) }),
  });
  return signReferenceDocument(document, await readKey(input, io));
}

async function readKey({ key, data }: Pick<PublishInput, 'key' | 'data'>, io: Io): Promise<Key> {
  const file = key ?? filesIn(data).issuerKey;
  const content = await readInput(file, 'issuer key', io);
  try {
    const jwk = parseStrictJson('issuer key', new TextDecoder().decode(content));
    if (typeof jwk === 'object' && jwk !== null && !Array.isArray(jwk)) return { ...jwk } as Key;
    throw new InvalidArgumentError('--key', `${file} holds no private JWK`);
  } finally {
    content.fill(0);
  }
}

export const list = command({
  description: 'Lists the reference values of a broker and whether they are in force.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker reference list', explains: 'every version of every document' }],
  async run(input, { io }): Promise<Result> {
    const references = await (await connectBroker(input, io)).ask<ReferenceAnswer[]>(
      'GET',
      '/reference-values',
    );
    return {
      exit: 0,
      json: references,
      render: (screen) =>
        screen.table(
          ['reference values', 'version', 'standing', 'from', 'until'],
          references.map((each) => [
            harmless(`${each.issuer}/${each.name}`),
            String(each.version),
            each.standing ?? '',
            each.notBefore,
            each.notAfter,
          ]),
        ),
    };
  },
});

export const trust = command({
  description: 'Trusts an issuer of reference values: documents signed with its keys count from now on.',
  arguments: { name: argument('name', 'as its documents name it') },
  options: {
    key: required(path('--key <file>', 'public or private JWK, of which the public half is sent')),
    ...clientOptions,
  },
  examples: [
    { line: 'broker reference trust releases@example.org --key issuer.jwk', explains: 'a second issuer' },
  ],
  async run(input, { io }): Promise<Result> {
    const { name } = input;
    const { keys } = issuerOf(name, await readKey(input, io));
    await (await connectBroker(input, io)).ask('PUT', `/issuers/${encodeURIComponent(name)}`, { keys });
    return {
      exit: 0,
      json: { name, keys },
      render: (screen) => screen.line(`Trusts reference values of ${name}`),
    };
  },
});

export const generateKey = command({
  description: 'Makes a key that signs reference values: Ed25519, as a private JWK.',
  arguments: { file: argument('file', 'to write it to') },
  options: {},
  examples: [{ line: 'broker reference generate-key issuer.jwk', explains: 'then `broker reference trust`' }],
  async run({ file }): Promise<Result> {
    const { privateKey, issuer } = await generateIssuerKey('owner');
    const bytes = new TextEncoder().encode(`${JSON.stringify(privateKey)}\n`);
    await writeOutputs([{ path: file, bytes, secret: true }], { overwrite: false });
    return {
      exit: 0,
      json: { file, publicKey: issuer.keys[0] },
      render: (screen) => screen.line(`Wrote ${file}; keep it where you build images`),
    };
  },
});
