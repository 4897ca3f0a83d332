import { createPublicKey } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { EndorsementClient, KdsClient } from '@vouchsafe/kds';
import {
  type EndorsementRoot,
  InvalidArgumentError,
  type PlatformRoot,
  UnavailableError,
  type VouchsafeError,
} from '@vouchsafe/sev';
import type { FastifyInstance } from 'fastify';
import type { JWK } from 'jose';
import { databaseAdminTokens } from './administration/admin-token-repository.js';
import type { AdministrationContext } from './administration/context.js';
import { notInitialised } from './administration/initialised.js';
import { denyAllPolicy, setPolicy } from './administration/policies.js';
import { setIssuer } from './administration/references.js';
import { roles } from './administration/roles.js';
import { issueToken } from './administration/tokens.js';
import { type TrusteeIdentityProvider, trusteeAuthenticator } from './administration/trustee-tokens.js';
import { ChallengeSessions } from './attestation/challenge-sessions.js';
import { databaseEndorsements } from './attestation/endorsement-repository.js';
import { createEndorsementShelf, type EndorsementShelf } from './attestation/endorsement-shelf.js';
import { guestService } from './attestation/guests.js';
import { type SnpAllowances, snpAppraiser } from './attestation/snp-appraisal.js';
import { auditRoutes } from './http/admin/audit-routes.js';
import { launchRoutes } from './http/admin/launch-routes.js';
import { policyRoutes } from './http/admin/policy-routes.js';
import { referenceRoutes } from './http/admin/reference-routes.js';
import { adminScope, describeApi } from './http/admin/scope.js';
import { secretRoutes } from './http/admin/secret-routes.js';
import { statusRoutes } from './http/admin/status-routes.js';
import { tokenRoutes } from './http/admin/token-routes.js';
import { createApp, failureText, type HttpLimits } from './http/app.js';
import { requireAdministrator } from './http/authentication.js';
import { RateLimitedError } from './http/errors.js';
import { type ListenAddress, listen, requireSafeAddress } from './http/listen.js';
import type { LogOptions } from './http/log.js';
import { createMetrics } from './http/metrics.js';
import { guestRoutes, rcarScope } from './http/rcar-routes.js';
import { serviceRoutes } from './http/service-routes.js';
import { loadTls, type TlsFiles } from './http/tls.js';
import { type RateLimit, tokenBuckets } from './http/token-bucket.js';
import { trusteeAdminRoutes } from './http/trustee-admin-routes.js';
import { createMaintenance } from './maintenance.js';
import { defaultDemands, type ReleaseDemands } from './policy/demands.js';
import { defaultPolicyName, PolicyStore } from './policy/policy-store.js';
import { prepareStoredPolicy } from './policy/prepare.js';
import { RulesInForce } from './policy/rules.js';
import { type BrokerOwners, brokerOwners } from './pre-launch/broker-owner.js';
import { type OwnerDecision, preLaunchRoutes } from './pre-launch/routes.js';
import type { ReferenceIssuer } from './reference-values/signed-document.js';
import { inTransaction } from './state/database.js';
import { type BrokerState, type BrokerStateOptions, openBrokerState } from './state/open.js';
import type { EarIssuer } from './token/ear-token.js';
import { databaseSigningKeys, signingKeyWrapping } from './token/repository.js';
import { createKeyRing } from './token/signing-keys.js';

/** Of this package; the same as in its package.json. */
export const brokerVersion = '0.1.0';

export interface BrokerOptions extends BrokerStateOptions {
  /** AMD's roots or one development root, never both. */
  readonly roots: readonly EndorsementRoot[];
  /** For SEV and SEV-ES, before launch: roots of the same kind. Without any, hosts are not answered. */
  readonly platformRoots?: readonly PlatformRoot[];
  /** Where authorities, revocation lists and certificates that nobody sends come from; without it, nothing is fetched. */
  readonly keyService?: Pick<EndorsementClient, 'endorsement'> & Partial<Pick<KdsClient, 'cek' | 'issuerOf'>>;
  /** What differs from {@link defaultDemands}; the root follows from `roots`. */
  readonly demands?: Partial<Omit<ReleaseDemands, 'root'>>;
  readonly allowances?: SnpAllowances;
  /** Name that tokens are issued under. */
  readonly issuer?: string;
  /** From a challenge to the end of its session, in milliseconds: five minutes. */
  readonly sessionLifetime?: number;
  /** Milliseconds: five minutes. */
  readonly tokenLifetime?: number;
  /** Whose JWTs administer Trustee's endpoints, beside this broker's own tokens: nobody's. */
  readonly trusteeAdministrators?: readonly TrusteeIdentityProvider[];
  readonly limits?: Partial<HttpLimits> & { /** Attestations of one chip. */ readonly perChip?: RateLimit };
  readonly tls?: TlsFiles;
  /** Proxies whose X-Forwarded-For is believed. */
  readonly trustProxy?: readonly string[];
  readonly log?: LogOptions;
  /** Between two rounds of refreshing revocation lists, in milliseconds: an hour. */
  readonly refreshInterval?: number;
  /** How long opening waits for the key service, in milliseconds: three seconds. The broker is not ready before. */
  readonly startPatience?: number;
}

/** A running key broker. */
export interface Broker {
  /** For tests without a socket: `inject`. */
  readonly app: FastifyInstance;
  readonly state: BrokerState;
  readonly endorsements: EndorsementShelf;
  /**
   * Begins to answer. @returns `http://…`, `https://…` or `unix:PATH`
   * @throws InvalidArgumentError for an address that this broker must not answer on; UnavailableError
   */
  listen(address: ListenAddress): Promise<string>;
  /** Does what is due: sweeps, refreshes, checkpoints, reloads. Timers do it by themselves once the broker listens. */
  maintain(): Promise<void>;
  close(): Promise<void>;
}

const minute = 60_000;
export const defaultPerChip: RateLimit = { perMinute: 600, burst: 600 };

/**
 * Opens a broker over its state.
 * @throws RefusedError for a state that is not this broker's, or an old copy of it
 * @throws UnavailableError when it has not been initialised, or its database cannot be reached
 * @throws InvalidArgumentError for AMD's roots beside a development root
 */
export async function openBroker(options: BrokerOptions): Promise<Broker> {
  const development = requireOneKindOfRoot(options.roots, options.platformRoots);
  const state = await openBrokerState(options);
  try {
    return await brokerOver(state, development, options);
  } catch (error) {
    await state.close();
    throw error;
  }
}

async function brokerOver(state: BrokerState, development: boolean, options: BrokerOptions): Promise<Broker> {
  const { random, roots, sessionLifetime = 5 * minute, tokenLifetime = 5 * minute } = options;
  const { log = { level: 'silent' }, trusteeAdministrators = [], limits = {} } = options;
  const metrics = createMetrics({ version: brokerVersion });
  const tls = options.tls === undefined ? undefined : await loadTls(options.tls);
  const app = await createApp({
    log,
    metrics,
    limits,
    ...(tls === undefined ? {} : { tls }),
    ...(options.trustProxy === undefined ? {} : { trustProxy: options.trustProxy }),
  });
  const context = administrationOf(state, options, metrics);
  const { keys, rules, tokens } = context;
  if ((await keys.publicKeys()).length === 0) throw notInitialised();
  const shelf = createEndorsementShelf({
    roots,
    repository: databaseEndorsements(state.db),
    now: state.clock.now,
    onFailure: (subject: string, error: VouchsafeError) =>
      app.log.warn({ subject, failure: failureText(error) }, 'key service'),
    ...(options.keyService === undefined ? {} : { source: options.keyService }),
  });
  await soon(shelf.refresh(), options.startPatience ?? 3000);

  const sessions = new ChallengeSessions(state.keys);
  const demands = {
    ...defaultDemands,
    ...options.demands,
    root: development ? 'development' : 'amd',
  } as const;
  const chips = tokenBuckets(limits.perChip ?? defaultPerChip);
  const guests = guestService({
    state,
    sessions,
    rules,
    demands,
    keys,
    issuer: issuerOf(options),
    tokenLifetime,
    sessionLifetime,
    random,
    metrics,
    appraise: snpAppraiser({
      roots,
      shelf,
      ...(options.allowances === undefined ? {} : { allowances: options.allowances }),
    }),
    admitChip(chip, now) {
      const answer = chips.take(chip, now);
      if (!answer.taken) throw new RateLimitedError(answer.after);
    },
  });

  const { cek, issuerOf: issuerOfCek } = options.keyService ?? {};
  const owners = brokerOwners({
    state,
    policies: context.policies,
    rules,
    demands,
    roots: options.platformRoots ?? [],
    random,
    ...(cek === undefined || issuerOfCek === undefined ? {} : { keyService: { cek, issuerOf: issuerOfCek } }),
  });
  const hosts = (options.platformRoots ?? []).length > 0 ? owners : undefined;

  const obstacles = async () => {
    const found: string[] = [];
    await state.db.query
      .selectFrom('broker_state')
      .select('name')
      .limit(1)
      .execute()
      .catch(() => found.push('the database does not answer'));
    if (!shelf.ready) found.push('the authorities’ certificates have not been fetched yet');
    return found;
  };
  const authenticator = { tokens, query: state.db.query, now: state.clock.now };
  const trustee = trusteeAuthenticator(trusteeAdministrators);
  await describeApi(app, brokerVersion);
  serviceRoutes(app, { metrics, keys, obstacles });
  await rcarScope(app, (scope) => {
    scope.addHook('onRequest', (request) => requireAdministrator(request, { ...authenticator, trustee }));
    guestRoutes(scope, guests);
    trusteeAdminRoutes(scope, context);
  });
  await adminScope(app, (scope) => {
    scope.addHook('onRequest', (request) => requireAdministrator(request, authenticator));
    secretRoutes(scope, context);
    policyRoutes(scope, context);
    referenceRoutes(scope, context);
    tokenRoutes(scope, context);
    auditRoutes(scope, context);
    launchRoutes(scope, context, owners);
    statusRoutes(scope, async () => ({
      version: brokerVersion,
      replica: state.record.replica,
      database: state.db.name,
      roots: roots.map(({ name }) => name),
      demands,
      outsideCheckpoint: options.outside?.name ?? null,
      obstacles: await obstacles(),
    }));
  });
  if (hosts !== undefined) await hostScopes(app, hosts);
  await app.ready();

  const maintenance = createMaintenance({
    now: state.clock.now,
    onFailure: (task, error) => app.log.error({ task, failure: failureText(error) }, 'maintenance'),
    tasks: {
      sessions: {
        every: minute,
        run: () => inTransaction(state.db, (tx) => sessions.sweep(tx, state.clock.now() - tokenLifetime)),
      },
      launches: { every: minute, run: () => owners.sweep() },
      checkpoint: { every: 10_000, run: () => state.record.checkpointIfDue() },
      endorsements: {
        every: options.refreshInterval ?? 60 * minute,
        sooner: () => (shelf.complete ? undefined : minute),
        async run() {
          await shelf.refresh();
          for (const { subject, fresh } of shelf.freshness()) metrics.endorsements(subject, fresh);
        },
      },
      ...(tls === undefined
        ? {}
        : {
            tls: {
              every: minute,
              async run() {
                const { changed, options: renewed } = await tls.reload();
                if (changed && 'setSecureContext' in app.server)
                  (
                    app.server as unknown as { setSecureContext(context: typeof renewed): void }
                  ).setSecureContext(renewed);
              },
            },
          }),
    },
  });
  for (const { subject, fresh } of shelf.freshness()) metrics.endorsements(subject, fresh);

  return {
    app,
    state,
    endorsements: shelf,
    maintain: () => maintenance.runAll(),
    async listen(address) {
      requireSafeAddress(address, { development, tls: tls !== undefined, what: 'a broker' });
      const where = await listen(app, address, 'broker');
      maintenance.start();
      return where;
    },
    async close() {
      shelf.close();
      await maintenance.stop();
      await app.close();
      await rules.close();
      await state.close();
    },
  };
}

/** Waits for work, and no longer than that; its failure is then told elsewhere. */
async function soon(work: Promise<void>, patience: number): Promise<void> {
  const late = new AbortController();
  const timer = delay(patience, undefined, { signal: late.signal, ref: false }).catch(() => undefined);
  try {
    await Promise.race([work, timer]);
  } finally {
    late.abort();
    work.catch(() => undefined);
  }
}

/** Hosts that ask before a launch: at the root for the launch named `default`, below `/launches/NAME` for the others. */
async function hostScopes(app: FastifyInstance, owners: BrokerOwners): Promise<void> {
  const log = (decision: OwnerDecision) => app.log.info({ decision }, 'host answered');
  await app.register(async (scope) =>
    preLaunchRoutes(scope, async () => owners.ownerOf(defaultPolicyName), log),
  );
  await app.register(
    async (scope) =>
      preLaunchRoutes(
        scope,
        async ({ params }) => owners.ownerOf((params as { readonly launch: string }).launch),
        log,
      ),
    { prefix: '/launches/:launch' },
  );
}

function administrationOf(
  state: BrokerState,
  options: BrokerStateOptions,
  metrics: AdministrationContext['metrics'],
): AdministrationContext {
  const { random, outside } = options;
  const policies = new PolicyStore(state.keys, random);
  const ownKey = createPublicKey(state.keys.checkpointKey).export({ format: 'jwk' }) as JWK;
  const ownIssuer = { name: 'this-broker', keys: [ownKey] };
  const keys = createKeyRing({
    repository: databaseSigningKeys(state.db, state.keys, (tx, { publicKey: { kid } }, by) => {
      state.record.append(tx, {
        kind: 'administration',
        subject: `key ${kid}`,
        body: { act: 'key.rotate', by, kid },
      });
    }),
    wrapping: signingKeyWrapping(state.keys),
    now: state.clock.now,
  });
  return {
    state,
    policies,
    rules: new RulesInForce({
      keys: state.keys,
      policies,
      prepare: prepareStoredPolicy,
      ownIssuers: [ownIssuer],
    }),
    tokens: databaseAdminTokens(state.keys),
    keys,
    outside,
    ownIssuer,
    random,
    metrics,
  };
}

/** What `broker init` made. */
export interface InitialisedBroker {
  /** The first administrator's token, with every role; it is kept nowhere. */
  readonly token: string;
  /** ISO 8601. */
  readonly tokenExpiresAt: string;
  /** Name of the key that signs attestation tokens. */
  readonly signingKey: string;
}

export interface InitialiseBrokerOptions extends BrokerStateOptions {
  /** Of the first administrator's token, in milliseconds: 30 days. */
  readonly tokenLifetime?: number;
  /** Who may sign reference values from the beginning. */
  readonly issuers?: readonly ReferenceIssuer[];
}

/**
 * Makes what a broker needs in an empty database: keys, a token with every role, and a policy that denies everything.
 * @throws UnavailableError when that has been done before
 */
export async function initialiseBroker(options: InitialiseBrokerOptions): Promise<InitialisedBroker> {
  const { tokenLifetime = 30 * 24 * 60 * minute } = options;
  const state = await openBrokerState(options);
  try {
    const context = administrationOf(state, options, createMetrics({ version: brokerVersion }));
    if ((await context.keys.publicKeys()).length > 0) {
      throw new UnavailableError('broker', 'its database has been initialised before', {
        hint: 'start it: `vouchsafe broker serve`; where nobody has its token, `vouchsafe broker token recover`',
      });
    }
    const by = { kind: 'token', id: 'init', name: 'broker init', roles } as const;
    const { kid } = await context.keys.rotate(0, 'broker init');
    const content = new TextEncoder().encode(denyAllPolicy);
    await setPolicy(context, { name: defaultPolicyName, content }, by);
    for (const issuer of options.issuers ?? []) await setIssuer(context, issuer, by);
    const first = { name: 'first administrator', roles, lifetime: tokenLifetime };
    const { token, expiresAt } = await issueToken(context, first, 'broker init');
    return { token, tokenExpiresAt: expiresAt, signingKey: kid };
  } finally {
    await state.close();
  }
}

function issuerOf({ issuer = 'vouchsafe-broker' }: BrokerOptions): EarIssuer {
  return {
    name: issuer,
    developer: 'Vouchsafe',
    build: `vouchsafe-broker ${brokerVersion}`,
  };
}

function requireOneKindOfRoot(
  roots: readonly EndorsementRoot[],
  platformRoots: readonly PlatformRoot[] = [],
): boolean {
  if (roots.length === 0) throw new InvalidArgumentError('roots', 'expected at least one trusted root');
  const isDevelopment = ({ kind }: { readonly kind: string }) => kind === 'development';
  const development = roots.filter(isDevelopment).length;
  const mixed = [...roots, ...platformRoots].some((root) => isDevelopment(root) !== development > 0);
  if (mixed || development > 1 || platformRoots.filter(isDevelopment).length > 1) {
    throw new InvalidArgumentError(
      'roots',
      'a broker trusts AMD’s roots or one development root, never both at once',
    );
  }
  return development > 0;
}
