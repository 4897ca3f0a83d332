import { InvalidArgumentError, isProductLine, type ProductLine, tcbComponents } from '@vouchsafe/sev';

/**
 * What a ready-made release policy asks for. Every wish that is given must be met; at least one must be. The policy is
 * text in Cedar, to be read, kept and changed.
 */
export interface PolicyWishes {
  /** Only these launch digests, 48 bytes each in hexadecimal. */
  readonly measurements?: readonly string[] | undefined;
  /** Only guests that fit one of these reference values, named `issuer/name`. */
  readonly references?: readonly string[] | undefined;
  /** The reported TCB is no less, component by component. */
  readonly minimumTcb?:
    | { readonly [component in (typeof tcbComponents)[number]]?: number | undefined }
    | undefined;
  readonly productLines?: readonly ProductLine[] | undefined;
  /** This owner's ID keys: SHA-384, 48 bytes each in hexadecimal. */
  readonly idKeyDigests?: readonly string[] | undefined;
  /** The author keys that signed the ID keys: SHA-384, 48 bytes each in hexadecimal. */
  readonly authorKeyDigests?: readonly string[] | undefined;
  /** Only these chips: 64 bytes in hexadecimal, or the 8 that Turin uses. A guest whose chip is not known is refused. */
  readonly chips?: readonly string[] | undefined;
  /** None of these chips; a guest whose chip is not known is refused. */
  readonly deniedChips?: readonly string[] | undefined;
  /** Milliseconds since 1970. */
  readonly notBefore?: number | undefined;
  /** Milliseconds since 1970; the last moment. */
  readonly notAfter?: number | undefined;
  /** At most so many machines, counted by their chips; a guest whose chip is not known is refused. */
  readonly machines?: number | undefined;
  /** Only this resource, `repository/type/tag`; left out, every resource that the policy is set for. */
  readonly resource?: string | undefined;
}

/**
 * Writes the release policy of some wishes.
 * @throws InvalidArgumentError for a wish that cannot be meant, or none at all
 */
export function readyMadePolicy(wishes: PolicyWishes): string {
  const conditions = conditionsOf(wishes);
  const { deniedChips } = wishes;
  if (conditions.length === 0) {
    throw new InvalidArgumentError('policy', 'no wish was given', {
      hint: 'a policy that permits everything must be written out, as Cedar',
    });
  }
  const resource =
    wishes.resource === undefined
      ? 'resource'
      : `resource == Resource::${quoted(resourceIn(wishes.resource))}`;
  const permit = [
    '@id("ready-made")',
    `permit (principal is SnpGuest, action == Action::"release", ${resource})`,
    'when {',
    `  ${conditions.join(' &&\n  ')}`,
    '};',
  ];
  const forbid =
    deniedChips === undefined
      ? []
      : [
          '',
          '@id("denied-chips")',
          'forbid (principal is SnpGuest, action == Action::"release", resource)',
          'when {',
          `  principal has chipId && ${chipList(deniedChips, 'deniedChips')}.contains(principal.chipId)`,
          '};',
        ];
  return `${[...permit, ...forbid].join('\n')}\n`;
}

function conditionsOf(wishes: PolicyWishes): string[] {
  const { references, productLines, minimumTcb, chips, deniedChips, notBefore, notAfter, machines } = wishes;
  const conditions: string[] = [];
  if (wishes.measurements !== undefined)
    conditions.push(`${digests(wishes.measurements, 'measurements')}.contains(principal.measurement)`);
  if (references !== undefined)
    conditions.push(`principal.references.containsAny(${list(requireSome(references, 'references'))})`);
  if (productLines !== undefined) {
    for (const line of requireSome(productLines, 'productLines'))
      if (!isProductLine(line)) throw new InvalidArgumentError('productLines', `${line} is no product line`);
    conditions.push('principal has productLine', `${list(productLines)}.contains(principal.productLine)`);
  }
  if (minimumTcb !== undefined) conditions.push(...floorOf(minimumTcb));
  for (const [wish, claim] of [
    ['idKeyDigests', 'idKeyDigest'],
    ['authorKeyDigests', 'authorKeyDigest'],
  ] as const) {
    const given = wishes[wish];
    if (given === undefined) continue;
    conditions.push(`principal has ${claim}`, `${digests(given, wish)}.contains(principal.${claim})`);
  }
  if (chips !== undefined || deniedChips !== undefined || machines !== undefined)
    conditions.push('principal has chipId');
  if (chips !== undefined) conditions.push(`${chipList(chips, 'chips')}.contains(principal.chipId)`);
  if (notBefore !== undefined) conditions.push(`context.now >= ${moment(notBefore, 'notBefore')}`);
  if (notAfter !== undefined) conditions.push(`context.now <= ${moment(notAfter, 'notAfter')}`);
  if (notBefore !== undefined && notAfter !== undefined && notBefore > notAfter)
    throw new InvalidArgumentError('notAfter', 'is before notBefore');
  if (machines !== undefined) conditions.push(`context.otherMachines < ${whole(machines, 'machines', 1)}`);
  return conditions;
}

function floorOf(floor: NonNullable<PolicyWishes['minimumTcb']>): string[] {
  const parts = tcbComponents.flatMap((name) => {
    const least = floor[name];
    if (least === undefined) return [];
    const condition = `principal.tcb.reported.${name} >= ${whole(least, `minimumTcb.${name}`, 0, 255)}`;
    return name === 'fmc' ? ['principal.tcb.reported has fmc', condition] : [condition];
  });
  if (parts.length === 0) throw new InvalidArgumentError('minimumTcb', 'names no component');
  return parts;
}

function whole(value: number, name: string, least: number, most = 1_000_000): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new InvalidArgumentError(name, `expected a whole number from ${least} to ${most}, found ${value}`);
}

function requireSome<T>(values: readonly T[], name: string): readonly T[] {
  if (values.length > 0) return values;
  throw new InvalidArgumentError(name, 'an empty list lets nothing pass: leave it out');
}

function digests(values: readonly string[], name: string): string {
  return list(requireSome(values, name).map((value) => hexadecimal(value, [48], name)));
}

function chipList(values: readonly string[], name: string): string {
  return list(requireSome(values, name).map((value) => hexadecimal(value, [64, 8], name).padEnd(128, '0')));
}

/** All zero stands for none: it would fit every guest without an ID block, or with a masked chip. */
function hexadecimal(value: string, lengths: readonly number[], name: string): string {
  const text = value.toLowerCase();
  if (!/^[0-9a-f]*$/.test(text) || !lengths.some((bytes) => text.length === bytes * 2))
    throw new InvalidArgumentError(
      name,
      `expected ${lengths.join(' or ')} bytes in hexadecimal, found ${value}`,
    );
  if (/^0*$/.test(text)) throw new InvalidArgumentError(name, 'all zero stands for none');
  return text;
}

function moment(time: number, name: string): string {
  if (!(Math.abs(time) <= 8.64e15)) throw new InvalidArgumentError(name, 'is not a date');
  return `datetime(${quoted(new Date(time).toISOString())})`;
}

function resourceIn(name: string): string {
  if (/^[^/]+\/[^/]+\/[^/]+$/.test(name)) return name;
  throw new InvalidArgumentError('resource', `expected repository/type/tag, found ${name}`);
}

const list = (values: readonly string[]) => `[${values.map(quoted).join(', ')}]`;

/** Cedar's strings have JSON's escapes but for \\u, which wants braces; none of ours needs one. */
function quoted(text: string): string {
  if (!/^[\x20-\x7e]*$/.test(text))
    throw new InvalidArgumentError('policy', `${JSON.stringify(text)} has characters beside printable ASCII`);
  return `"${text.replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
}
