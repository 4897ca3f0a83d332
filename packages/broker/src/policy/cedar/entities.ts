import type { CedarValueJson, EntityJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs';
import { InvalidArgumentError } from '@vouchsafe/sev';
import type { Claims, InitDataClaims } from '../../attestation/claims.js';
import type { PolicyQuestion, ResourceName } from '../release-policy.js';

/** A question as Cedar takes it. */
export interface CedarRequest {
  readonly principal: TypeAndId;
  readonly action: TypeAndId;
  readonly resource: TypeAndId;
  readonly context: Record<string, CedarValueJson>;
  readonly entities: EntityJson[];
}

/** The claims as a principal, the resource in its repository, and what else is known, by the schema of release policies. */
export function releaseRequest({
  claims,
  references,
  resource,
  otherMachines,
  now,
}: PolicyQuestion): CedarRequest {
  const guest = guestEntity(claims, references);
  const { repository } = resource;
  const name: TypeAndId = { type: 'Resource', id: resourceId(resource) };
  const parent: TypeAndId = { type: 'Repository', id: repository };
  const { type, tag } = resource;
  return {
    principal: guest.uid as TypeAndId,
    action: { type: 'Action', id: 'release' },
    resource: name,
    context: { now: datetime(new Date(now).toISOString()), otherMachines },
    entities: [
      guest,
      { uid: name, attrs: { repository, type, tag }, parents: [parent] },
      { uid: parent, attrs: {}, parents: [] },
    ],
  };
}

/** `repository/type/tag`: what policies call a resource by. */
export function resourceId({ repository, type, tag }: ResourceName): string {
  return `${repository}/${type}/${tag}`;
}

function guestEntity(claims: Claims, references: readonly string[]): EntityJson {
  if (claims.tee !== 'snp') {
    return { uid: { type: 'PreLaunchGuest', id: 'guest' }, attrs: record(claims), parents: [] };
  }
  const { tee: _tee, initData, revocation, ...others } = claims;
  const { status, asOf } = revocation;
  return {
    uid: { type: 'SnpGuest', id: claims.reportId },
    attrs: record({
      ...others,
      revocation: { status, ...(asOf === undefined ? {} : { asOf: datetime(asOf) }) },
      ...(initData === undefined ? {} : { initData: digestOf(initData) }),
      references: [...references],
    }),
    parents: [],
    ...(initData === undefined ? {} : { tags: { ...initData.data } }),
  };
}

const digestOf = ({ algorithm, digest }: InitDataClaims) => ({ algorithm, digest });

const datetime = (text: string): CedarValueJson => ({ __extn: { fn: 'datetime', arg: text } });

/** Claims are JSON already, and Cedar knows neither null nor a fraction: both would be a mistake in the claims. */
function record(value: object): Record<string, CedarValueJson> {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .map(([name, each]) => [name, cedarValue(each, name)]),
  );
}

function cedarValue(value: unknown, name: string): CedarValueJson {
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (Array.isArray(value)) return value.map((each) => cedarValue(each, name));
  if (typeof value === 'object' && value !== null) return record(value);
  throw new InvalidArgumentError(`claims: ${name}`, 'cannot be said in a policy');
}
