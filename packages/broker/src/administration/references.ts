import { type Appraisal, InvalidArgumentError, toHex } from '@vouchsafe/sev';
import { decodeJwt, type JWK } from 'jose';
import { issuerKeysSchema, parseIssuer } from '../policy/issuers.js';
import { markRulesChanged } from '../policy/rules-edition.js';
import { databaseReferenceValues } from '../reference-values/database-repository.js';
import type { ReferenceDocument } from '../reference-values/document.js';
import { namedReferenceValue, type ReferenceSet, referenceValuesAt } from '../reference-values/in-force.js';
import { type ReferenceIssuer, signReferenceDocument } from '../reference-values/signed-document.js';
import { ReferenceValueStore } from '../reference-values/store.js';
import { nextTrusteeDocument, trusteeDocumentName } from '../reference-values/trustee-message.js';
import { inTransaction, type Queries, type Transaction } from '../state/database.js';
import type { Principal } from './admin-tokens.js';
import { type AdministrationContext, byWhom } from './context.js';

export interface AcceptedReference {
  readonly document: ReferenceDocument;
  readonly appraisal: Appraisal;
}

/** Keeps a signed document of reference values. @throws RefusedError with the checks that it did not pass */
export async function putReference(
  context: AdministrationContext,
  signed: string,
  who: Principal,
): Promise<AcceptedReference> {
  return inTransaction(context.state.db, (tx) => accept(tx, context, signed, who));
}

async function accept(
  tx: Transaction,
  context: AdministrationContext,
  signed: string,
  who: Principal,
): Promise<AcceptedReference> {
  const { state, random } = context;
  // First of all: from here on no other transaction adds a version.
  await markRulesChanged(tx, toHex(random(16)));
  const now = state.clock.now();
  const repository = databaseReferenceValues(tx.query, state.keys, now);
  const accepted = await new ReferenceValueStore(repository, await issuersOf(tx, context)).accept(
    signed,
    now,
  );
  const { issuer, name, version, notBefore, notAfter } = accepted.document;
  state.record.append(tx, {
    kind: 'administration',
    subject: `reference ${issuer}/${name}`,
    body: { act: 'reference.put', by: byWhom(who), issuer, name, version, notBefore, notAfter },
  });
  return accepted;
}

/** Every stored document with its standing. */
export async function listReferences({
  state,
  rules,
}: AdministrationContext): Promise<readonly ReferenceSet[]> {
  const now = state.clock.now();
  return rules.use(state.db.query, now, async ({ documents }) => referenceValuesAt(documents, now).sets);
}

/** The value that a name stands for, as Trustee's endpoint is asked; undefined when there is none. */
export async function referenceValueOf(
  { state, rules }: AdministrationContext,
  name: string,
): Promise<unknown> {
  const now = state.clock.now();
  return rules.use(state.db.query, now, async ({ documents }) =>
    namedReferenceValue(referenceValuesAt(documents, now), name),
  );
}

/**
 * Takes what an administrator registers through Trustee's endpoint, which nobody signed: the broker signs it as its own.
 * @throws InvalidArgumentError, MalformedError
 */
export async function registerTrusteeValues(
  context: AdministrationContext,
  message: unknown,
  who: Principal,
): Promise<void> {
  const { state, ownIssuer } = context;
  await inTransaction(state.db, async (tx) => {
    await markRulesChanged(tx, toHex(context.random(16)));
    const now = state.clock.now();
    const rows = await databaseReferenceValues(tx.query, state.keys, now).list();
    const [newest] = rows
      .filter(({ issuer, name }) => issuer === ownIssuer.name && name === trusteeDocumentName)
      .sort((a, b) => b.version - a.version);
    // Authentic: the row has an authentication code of its own, and accepting the next version verifies that one.
    const previous =
      newest === undefined ? undefined : (decodeJwt(newest.document) as unknown as ReferenceDocument);
    const next = nextTrusteeDocument(message, previous, { issuer: ownIssuer.name, now });
    await accept(tx, context, await signReferenceDocument(next, ownKey(context)), who);
  });
}

/** The key of the broker's record signs what it vouches for itself: the header tells one from the other. */
function ownKey({ state }: AdministrationContext): JWK {
  return state.keys.checkpointKey.export({ format: 'jwk' }) as JWK;
}

async function issuersOf(
  { query }: Queries,
  { policies, ownIssuer }: Pick<AdministrationContext, 'policies' | 'ownIssuer'>,
): Promise<ReferenceIssuer[]> {
  return [ownIssuer, ...(await policies.list(query, ['issuer'])).map(parseIssuer)];
}

/** Trusts an issuer's public keys from now on, and no others of that name. @throws InvalidArgumentError */
export async function setIssuer(
  { state, policies, ownIssuer }: AdministrationContext,
  { name, keys }: { readonly name: string; readonly keys: unknown },
  who: Principal,
): Promise<void> {
  if (name === ownIssuer.name) throw new InvalidArgumentError('issuer', `${name} is the broker itself`);
  const parsed = issuerKeysSchema.safeParse(keys);
  if (!parsed.success)
    throw new InvalidArgumentError(
      'keys',
      'expected a list of public JWKs, Ed25519 or P-256, without private parts',
    );
  const content = new TextEncoder().encode(JSON.stringify(parsed.data));
  const author = byWhom(who);
  await inTransaction(state.db, async (tx) => {
    const now = state.clock.now();
    const { version } = await policies.set(tx, { name, kind: 'issuer', content, author, now });
    state.record.append(tx, {
      kind: 'administration',
      subject: `issuer ${name}`,
      body: { act: 'issuer.set', by: author, name, version, keys: parsed.data.map(({ x }) => x) },
    });
  });
}

export async function listIssuers(context: AdministrationContext): Promise<ReferenceIssuer[]> {
  return issuersOf(context.state.db, context);
}
