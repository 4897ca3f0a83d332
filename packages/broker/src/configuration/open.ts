import { createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { createKdsClient } from '@vouchsafe/kds';
import {
  amdEndorsementRoots,
  amdPlatformRoots,
  authorityIdentity,
  developmentEndorsementRoot,
  developmentPlatformRoot,
  type EndorsementRoot,
  InvalidArgumentError,
  type PlatformRoot,
  type RandomSource,
  readCertificates,
  Secret,
  UnavailableError,
} from '@vouchsafe/sev';
import type { JWK } from 'jose';
import type { TrusteeIdentityProvider } from '../administration/trustee-tokens.js';
import type { BrokerOptions } from '../broker.js';
import type { ListenAddress } from '../http/listen.js';
import { checkpointFile, type OutsideCopy, witness } from '../record/outside-copy.js';
import { type MasterKey, masterKeyFromEnvironment, masterKeyFromFile } from '../secrets/master-key.js';
import { vaultTransitMasterKey } from '../secrets/vault-transit.js';
import type { BrokerStateOptions } from '../state/open.js';
import { type BrokerConfiguration, type MasterKeyPlace, parseBrokerConfiguration } from './configuration.js';
import { configurationFile } from './file-name.js';

export interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly random: RandomSource;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** A set-up that has been read, with what it names. */
export interface ConfiguredBroker {
  readonly configuration: BrokerConfiguration;
  readonly address: ListenAddress;
  readonly options: BrokerOptions;
  /** Ends what was opened for it: the master key. */
  close(): void;
}

/**
 * Reads the set-up in a folder and what it names, all but the database.
 * @throws InvalidArgumentError, UnavailableError naming the file
 */
export async function configuredBroker(
  folder: string,
  surroundings: Surroundings,
): Promise<ConfiguredBroker> {
  const { configuration, state, address } = await configuredState(folder, surroundings);
  try {
    const path = (name: string) => within(folder, name);
    const { demands = {}, limits = {}, sessions = {}, tls } = configuration;
    const providers = configuration['trustee-administrators'] ?? [];
    const grace = demands['revocation-grace-hours'];
    const perAddress = limits['requests-per-minute'];
    const perChip = limits['attestations-per-chip-per-minute'];
    const options: BrokerOptions = {
      ...state,
      roots: await rootsOf(folder, configuration),
      platformRoots: await platformRootsOf(folder, configuration),
      ...keyServiceOf(folder, configuration),
      demands: {
        ...(demands.vmpl === undefined ? {} : { vmpl: demands.vmpl }),
        ...(demands.measurement === undefined ? {} : { measurement: demands.measurement }),
        ...(grace === undefined ? {} : { revocationGrace: grace * 3_600_000 }),
        ...(demands['skip-revocation'] === undefined ? {} : { revocationGrace: 'skip' as const }),
      },
      allowances: {
        allowDebug: demands['allow-debug'] === true,
        allowMigrationAgent: demands['allow-migration-agent'] === true,
        allowProvisional: demands['allow-provisional'] === true,
      },
      ...(configuration.issuer === undefined ? {} : { issuer: configuration.issuer }),
      ...(sessions['lifetime-seconds'] === undefined
        ? {}
        : { sessionLifetime: sessions['lifetime-seconds'] * 1000 }),
      ...(sessions['token-lifetime-seconds'] === undefined
        ? {}
        : { tokenLifetime: sessions['token-lifetime-seconds'] * 1000 }),
      limits: {
        ...(perAddress === undefined ? {} : { perAddress: { perMinute: perAddress, burst: perAddress } }),
        ...(perChip === undefined ? {} : { perChip: { perMinute: perChip, burst: perChip } }),
      },
      ...(tls === undefined ? {} : { tls: { certificate: path(tls.certificate), key: path(tls.key) } }),
      ...(configuration['trust-proxy'] === undefined ? {} : { trustProxy: configuration['trust-proxy'] }),
      trusteeAdministrators: await Promise.all(providers.map((each) => providerOf(folder, each))),
    };
    return { configuration, address, options, close: () => state.masterKey.close() };
  } catch (error) {
    state.masterKey.close();
    throw error;
  }
}

/** The part that `broker init` needs, too. @throws InvalidArgumentError, UnavailableError */
export async function configuredState(
  folder: string,
  surroundings: Surroundings,
): Promise<{
  readonly configuration: BrokerConfiguration;
  readonly address: ListenAddress;
  readonly state: BrokerStateOptions;
}> {
  const { configuration } = await readConfiguration(folder);
  const address = addressIn(configuration.listen);
  const locked = lockedState(folder, configuration, surroundings);
  // Last of what may fail: from here on there is a key to zero.
  const masterKey = await openMasterKey(folder, configuration['master-key'], surroundings);
  return { configuration, address, state: { ...locked, masterKey } };
}

/** @throws InvalidArgumentError, UnavailableError naming the file */
export async function readConfiguration(
  folder: string,
): Promise<{ readonly path: string; readonly text: string; readonly configuration: BrokerConfiguration }> {
  const path = join(folder, configurationFile);
  const text = new TextDecoder().decode(await read(path));
  return { path, text, configuration: parseBrokerConfiguration(text, path) };
}

/** Everything that opens the state but the master key. @throws InvalidArgumentError */
export function lockedState(
  folder: string,
  configuration: BrokerConfiguration,
  { environment, random, now }: Surroundings,
): Omit<BrokerStateOptions, 'masterKey'> {
  const outside = outsideOf(folder, configuration, environment);
  const { replica } = configuration;
  return {
    database: databaseOf(folder, configuration),
    random,
    now,
    ...(replica === undefined ? {} : { replica }),
    ...(outside === undefined ? {} : { outside }),
  };
}

/** Where a file is that the set-up in this folder names. */
export const within = (folder: string, name: string) => (isAbsolute(name) ? name : join(folder, name));

function databaseOf(folder: string, { database }: BrokerConfiguration): string {
  const sqlite = /^sqlite:(.+)$/s.exec(database)?.[1];
  return sqlite === undefined ? database : `sqlite:${within(folder, sqlite)}`;
}

/** `HOST:PORT`, `[ADDRESS]:PORT` or `unix:PATH`. @throws InvalidArgumentError */
export function addressIn(text: string): ListenAddress {
  if (text.startsWith('unix:') && text.length > 5) return { socketPath: text.slice(5) };
  const [, host, bare, port = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/\s]+)):(\d{1,5})$/.exec(text) ?? [];
  if ((host ?? bare) === undefined || Number(port) > 65_535)
    throw new InvalidArgumentError('listen', 'expected HOST:PORT or unix:PATH');
  return { host: host ?? bare ?? '', port: Number(port) };
}

/** @throws InvalidArgumentError, UnavailableError naming the file or the variable */
export async function openMasterKey(
  folder: string,
  given: MasterKeyPlace,
  { environment, random }: Pick<Surroundings, 'environment' | 'random'>,
): Promise<MasterKey> {
  if (given.file !== undefined) return masterKeyFromFile(within(folder, given.file), random);
  if (given.environment !== undefined)
    return masterKeyFromEnvironment(environment, given.environment, random);
  const { address = '', key = '', mount, namespace, 'token-environment': variable = '' } = given.vault ?? {};
  return vaultTransitMasterKey({
    address,
    key,
    token: secretIn(environment, variable),
    ...(mount === undefined ? {} : { mount }),
    ...(namespace === undefined ? {} : { namespace }),
  });
}

function outsideOf(
  folder: string,
  { record = {} }: BrokerConfiguration,
  environment: Surroundings['environment'],
): OutsideCopy | undefined {
  if (record.witness !== undefined) {
    const variable = record['witness-token-environment'];
    return witness({
      url: record.witness,
      ...(variable === undefined ? {} : { token: secretIn(environment, variable) }),
    });
  }
  return record.outside === undefined ? undefined : checkpointFile(within(folder, record.outside));
}

function secretIn(environment: Surroundings['environment'], variable: string): Secret {
  const text = environment[variable];
  if (text === undefined || text === '')
    throw new InvalidArgumentError(variable, 'expected a token in this environment variable');
  return Secret.take(new TextEncoder().encode(text));
}

async function rootsOf(
  folder: string,
  { roots = {} }: BrokerConfiguration,
): Promise<readonly EndorsementRoot[]> {
  if (roots.development === undefined) return amdEndorsementRoots;
  const path = within(folder, roots.development);
  const ark = readCertificates(await read(path), path).find(
    ({ subject }) => authorityIdentity(subject.attributes)?.role === 'ARK',
  );
  if (ark === undefined)
    throw new InvalidArgumentError('roots.development', `${path} holds no ARK certificate`);
  return [await developmentEndorsementRoot(ark.raw)];
}

async function platformRootsOf(
  folder: string,
  { roots = {} }: BrokerConfiguration,
): Promise<readonly PlatformRoot[]> {
  const file = roots['development-platform'];
  if (file !== undefined) return [await developmentPlatformRoot(await read(within(folder, file)))];
  return roots.development === undefined ? amdPlatformRoots : [];
}

function keyServiceOf(
  folder: string,
  { 'key-service': service = {} }: BrokerConfiguration,
): Pick<BrokerOptions, 'keyService'> {
  const { url, cache, offline = false } = service;
  if (url === undefined && cache === undefined) return {};
  const client = createKdsClient({
    ...(url === undefined || url === 'amd' ? {} : { baseUrl: url }),
    ...(cache === undefined ? {} : { cacheFolder: within(folder, cache) }),
    offline,
  });
  return { keyService: client };
}

type Provider = NonNullable<BrokerConfiguration['trustee-administrators']>[number];

async function providerOf(folder: string, provider: Provider): Promise<TrusteeIdentityProvider> {
  const { name, issuer, audience, roles, 'without-role': withoutRole } = provider;
  const path = within(folder, provider.keys);
  return {
    name,
    keys: keysIn(new TextDecoder().decode(await read(path)), path),
    roles,
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
    ...(withoutRole === undefined ? {} : { withoutRole }),
  };
}

/** A JWK set, one JWK, or a public key in PEM. */
function keysIn(text: string, path: string): JWK[] {
  try {
    if (text.trimStart().startsWith('-----BEGIN PUBLIC KEY-----'))
      return [createPublicKey(text).export({ format: 'jwk' }) as JWK];
    const json = JSON.parse(text) as { keys?: JWK[] } & JWK;
    return json.keys ?? [json];
  } catch {
    throw new InvalidArgumentError('trustee-administrators', `${path} holds no public keys`);
  }
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { code = 'failed' } = cause as NodeJS.ErrnoException;
    throw new UnavailableError('broker', `cannot read ${path} (${code})`, {
      cause,
      hint: code === 'ENOENT' ? 'run `vouchsafe broker init` first' : undefined,
    });
  }
}
