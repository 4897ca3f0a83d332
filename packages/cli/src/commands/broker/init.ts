import { access, mkdir } from 'node:fs/promises';
import { basename } from 'node:path';
import {
  addressIn,
  configurationText,
  configuredState,
  createMasterKeyFile,
  generateIssuerKey,
  initialiseBroker,
  issuerOf,
  type ReferenceIssuer,
} from '@vouchsafe/broker';
import { parseStrictJson, utf8Text } from '@vouchsafe/protocol';
import { InvalidArgumentError, systemRandom, UnavailableError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readInput, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { number, path, text, withDefault } from '../../frame/options.js';
import { dataOption, filesIn, moreData } from './data-folder.js';

/** Under which the first key that signs reference values is trusted. */
const issuerName = 'owner';

export const init = command({
  description:
    'Makes a key broker in a folder: its set-up, its keys, a token for the first administrator, a key that signs ' +
    'reference values, and a policy that denies everything. Nothing is released until you say what to whom.',
  arguments: {},
  options: {
    ...dataOption,
    listen: withDefault(text('--listen <address>', 'HOST:PORT or unix:PATH to answer on'), '127.0.0.1:8080'),
    database: withDefault(
      text('--database <url>', 'sqlite:PATH, or postgres://… for several replicas'),
      'sqlite:broker.db',
    ),
    root: path('--root <file>', 'trust this development root (an ARK certificate) instead of AMD’s roots'),
    platformRoot: path('--platform-root <file>', 'the same authority’s ARK for SEV and SEV-ES (ark.cert)'),
    kds: text('--kds <url>', 'key service for authorities and revocation lists; "amd" is AMD’s, the default'),
    tokenDays: withDefault(
      number('--token-days <n>', 'how long the first token is good', { least: 1, most: 90 }),
      30,
    ),
  },
  examples: [
    { line: 'broker init', explains: 'a broker for AMD’s processors, on loopback, in .vouchsafe/broker' },
    {
      line: 'broker init --data broker --root ark.der --kds http://127.0.0.1:8081',
      explains: 'one for software processors',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const files = filesIn(input.data);
    addressIn(input.listen);
    if (!(await exists(files.configuration))) await writeSetUp(input, files, io);
    else if ((await exists(files.token)) || !(await exists(files.issuerKey)))
      throw new UnavailableError(files.configuration, 'there is a broker already', {
        hint:
          'start it with `vouchsafe broker serve`, or name another folder with --data; `vouchsafe broker token recover` ' +
          'makes a token where the administrator’s was lost',
      });
    // Otherwise what an attempt wrote that failed later stands: a database may be sealed under its master key already.
    const issuer = await readIssuer(files.issuerKey, io);
    const { configuration, state } = await configuredState(input.data, {
      environment: io.env,
      random: systemRandom,
      now: Date.now,
    });
    const made = await initialiseBroker({
      ...state,
      tokenLifetime: input.tokenDays * 24 * 3_600_000,
      issuers: [issuer],
    }).finally(() => state.masterKey.close());
    await writeOutputs([{ path: files.token, bytes: utf8(`${made.token}\n`), secret: true }], {
      overwrite: false,
    });
    const data = moreData(input.data);
    return {
      exit: 0,
      json: {
        folder: input.data,
        listen: configuration.listen,
        token: files.token,
        tokenExpires: made.tokenExpiresAt,
        referenceIssuer: files.issuerKey,
        signingKey: made.signingKey,
      },
      render(screen) {
        screen.line(`A key broker in ${input.data}; it denies everything until you say otherwise.`);
        screen.facts([
          ['set-up', files.configuration],
          ['master key', `${files.masterKey}: keep a copy where the database is not`],
          ['admin token', `${files.token}, until ${made.tokenExpiresAt}`],
          ['reference values', `signed with ${files.issuerKey}: move it to where you build images`],
        ]);
        screen.line();
        screen.line('What to do next:');
        screen.line(`  vouchsafe broker serve${data}`);
        screen.line(`  vouchsafe broker reference publish${data} --measurement HEX`);
        screen.line(`  vouchsafe broker secret put${data} repo/type/tag --from FILE`);
        screen.line(`  vouchsafe broker policy set${data} default --measurement HEX`);
        screen.line(`  vouchsafe broker audit tail${data}`);
      },
    };
  },
});

interface SetUpInput {
  readonly data: string;
  readonly listen: string;
  readonly database: string;
  readonly root?: string | undefined;
  readonly platformRoot?: string | undefined;
  readonly kds?: string | undefined;
}

/** Writes everything that the folder holds before there is a database; the set-up itself last. */
async function writeSetUp(input: SetUpInput, files: ReturnType<typeof filesIn>, io: Io): Promise<void> {
  const root = input.root === undefined ? undefined : await readInput(input.root, '--root', io);
  const platformRoot =
    input.platformRoot === undefined ? undefined : await readInput(input.platformRoot, '--platform-root', io);
  if (platformRoot !== undefined && root === undefined)
    throw new InvalidArgumentError('--root', 'it has to be given beside --platform-root');
  const { privateKey } = await generateIssuerKey(issuerName);
  const configuration = configurationText({
    listen: input.listen,
    database: input.database,
    developmentRoot: root === undefined ? undefined : basename(files.root),
    developmentPlatformRoot: platformRoot === undefined ? undefined : basename(files.platformRoot),
    keyService: input.kds,
  });
  await mkdir(input.data, { recursive: true, mode: 0o700 });
  await writeOutputs(
    [{ path: files.issuerKey, bytes: utf8(`${JSON.stringify(privateKey)}\n`), secret: true }],
    { overwrite: false },
  );
  await createMasterKeyFile(files.masterKey, systemRandom);
  await writeOutputs(
    [
      ...(root === undefined ? [] : [{ path: files.root, bytes: root }]),
      ...(platformRoot === undefined ? [] : [{ path: files.platformRoot, bytes: platformRoot }]),
      { path: files.configuration, bytes: utf8(configuration) },
    ],
    { overwrite: false },
  );
}

/** What the broker has to know of the key that signs reference values. */
async function readIssuer(path: string, io: Io): Promise<ReferenceIssuer> {
  const content = await readInput(path, 'reference issuer', io);
  try {
    const key = parseStrictJson('reference issuer', utf8Text('reference issuer', content));
    return issuerOf(issuerName, key as Parameters<typeof issuerOf>[1]);
  } finally {
    content.fill(0);
  }
}

const utf8 = (text: string) => new TextEncoder().encode(text);

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
