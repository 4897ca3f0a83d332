import { InvalidArgumentError } from '@vouchsafe/sev';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { roles } from '../administration/roles.js';

/**
 * A broker's set-up as it stands in `broker.toml`. Files are named relative to the folder of that file. Secrets are not
 * in it, only where they are.
 */
const file = z.string().min(1);
const masterKey = z
  .strictObject({
    file: file.optional(),
    environment: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
      .optional(),
    vault: z
      .strictObject({
        address: z.string(),
        key: z.string(),
        mount: z.string().optional(),
        namespace: z.string().optional(),
        /** Names the environment variable that holds the token. */
        'token-environment': z.string(),
      })
      .optional(),
  })
  .refine((given) => Object.values(given).filter((each) => each !== undefined).length === 1, {
    error: 'expected one of file, environment and vault',
  });

const rate = z.int().min(1).max(1_000_000);

const schema = z.strictObject({
  /** `HOST:PORT` or `unix:PATH`. */
  listen: z.string(),
  database: z.string(),
  replica: z.string().min(1).max(64).optional(),
  issuer: z.string().min(1).max(128).optional(),
  'trust-proxy': z.array(z.string()).optional(),
  'master-key': masterKey,
  record: z
    .strictObject({
      /** A file, not where the database is. */
      outside: file.optional(),
      witness: z.string().optional(),
      'witness-token-environment': z.string().optional(),
    })
    .optional(),
  roots: z
    .strictObject({
      /** An ARK certificate of SEV-SNP; left out, AMD's roots are trusted. */
      development: file.optional(),
      /** The same authority's ARK for SEV and SEV-ES; left out beside the other, hosts are not answered. */
      'development-platform': file.optional(),
    })
    .optional(),
  'key-service': z
    .strictObject({
      /** A base address, or `amd`. */
      url: z.string().optional(),
      cache: file.optional(),
      /** Nothing is fetched: what the cache and the database hold has to do. */
      offline: z.boolean().optional(),
    })
    .optional(),
  tls: z.strictObject({ certificate: file, key: file }).optional(),
  demands: z
    .strictObject({
      vmpl: z.int().min(0).max(3).optional(),
      measurement: z.enum(['known', 'any']).optional(),
      'revocation-grace-hours': z
        .number()
        .min(0)
        .max(24 * 365)
        .optional(),
      'skip-revocation': z.literal(true).optional(),
      'allow-debug': z.literal(true).optional(),
      'allow-migration-agent': z.literal(true).optional(),
      'allow-provisional': z.literal(true).optional(),
    })
    .optional(),
  sessions: z
    .strictObject({
      'lifetime-seconds': z.int().min(10).max(3600).optional(),
      'token-lifetime-seconds': z.int().min(10).max(86_400).optional(),
    })
    .optional(),
  limits: z
    .strictObject({
      'requests-per-minute': rate.optional(),
      'attestations-per-chip-per-minute': rate.optional(),
    })
    .optional(),
  /** Whose JWTs administer Trustee's endpoints. */
  'trustee-administrators': z
    .array(
      z.strictObject({
        name: z.string().min(1).max(64),
        /** A JWK set, one JWK, or a public key in PEM. */
        keys: file,
        issuer: z.string().optional(),
        audience: z.string().optional(),
        roles: z.record(z.string(), z.array(z.enum(roles))),
        'without-role': z.array(z.enum(roles)).optional(),
      }),
    )
    .optional(),
});

export type BrokerConfiguration = z.output<typeof schema>;
/** Where the master key is: a file, an environment variable, or a transit key of Vault or OpenBao. */
export type MasterKeyPlace = BrokerConfiguration['master-key'];

/** @throws InvalidArgumentError naming the member */
export function parseBrokerConfiguration(text: string, name = 'broker.toml'): BrokerConfiguration {
  let toml: unknown;
  try {
    toml = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new InvalidArgumentError(name, `is not TOML, at line ${error.line}`);
  }
  const parsed = schema.safeParse(toml);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new InvalidArgumentError(name, `${issue?.path.join('.') || 'document'}: ${issue?.message}`);
}

export interface NewConfiguration {
  readonly listen: string;
  readonly database: string;
  /** A file in the folder. */
  readonly developmentRoot?: string | undefined;
  /** A file in the folder. */
  readonly developmentPlatformRoot?: string | undefined;
  readonly keyService?: string | undefined;
}

/** The first `broker.toml`, with its choices explained. */
export function configurationText({
  listen,
  database,
  developmentRoot,
  developmentPlatformRoot,
  keyService,
}: NewConfiguration): string {
  const quoted = JSON.stringify;
  const lines = [
    '# Set-up of a Vouchsafe key broker. Files are named relative to this one.',
    '',
    '# HOST:PORT or unix:PATH. Beyond loopback a [tls] section with `certificate` and `key` is needed.',
    `listen = ${quoted(listen)}`,
    '# sqlite:PATH for one machine, postgres://USER@HOST/NAME for several replicas.',
    `database = ${quoted(database)}`,
    '',
    '[master-key]',
    '# What the database is sealed under: a file, an environment variable, or a transit key of Vault or OpenBao.',
    'file = "master.key"',
    '',
    '[record]',
    '# The newest checkpoint of the record, outside the database: an old copy of that is then noticed.',
    'outside = "checkpoint.json"',
    '',
    '[roots]',
    developmentRoot === undefined
      ? '# development = "ark.der"   # trusts this development root instead of AMD’s roots'
      : `development = ${quoted(developmentRoot)}`,
    ...(developmentPlatformRoot === undefined
      ? []
      : [`development-platform = ${quoted(developmentPlatformRoot)}`]),
    '',
    '[key-service]',
    '# Where authorities and revocation lists come from: "amd", or the address of a mirror.',
    `url = ${quoted(keyService ?? 'amd')}`,
    '',
    '[demands]',
    '# What every guest must meet before a release policy is asked.',
    'vmpl = 0',
    'measurement = "known"',
    'revocation-grace-hours = 24',
    '',
  ];
  return lines.join('\n');
}
