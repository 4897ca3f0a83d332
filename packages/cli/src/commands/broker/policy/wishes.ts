import type { PolicyWishes } from '@vouchsafe/broker/documents';
import { InvalidArgumentError, type ProductLine, productLines, tcbComponents } from '@vouchsafe/sev';
import { choice, grouped, instant, number, parsed, repeated, text } from '../../../frame/options.js';

/** A ready-made policy, wish by wish. Every wish that is given must be met. */
export const wishOptions = grouped('A ready-made policy: all that is given must be met', {
  measurement: repeated(text('--measurement <hex>', 'only this launch digest')),
  reference: repeated(
    text('--reference <name>', 'only guests that fit these reference values, as issuer/name'),
  ),
  minTcb: parsed('--min-tcb <floor>', 'reported TCB at least, such as snp=24,microcode=217', readTcb),
  product: repeated(choice('--product <line>', 'only this product line', productLines)),
  idKey: repeated(text('--id-key <hex>', 'only guests signed by this ID key (its digest)')),
  authorKey: repeated(text('--author-key <hex>', 'only guests signed by this author key (its digest)')),
  chipId: repeated(text('--chip-id <hex>', 'only this chip')),
  denyChipId: repeated(text('--deny-chip-id <hex>', 'not this chip')),
  notBefore: instant('--not-before <date>', 'not before'),
  notAfter: instant('--not-after <date>', 'not after'),
  machines: number('--machines <n>', 'so many machines at most', { least: 1, most: 1_000_000 }),
  resource: text('--resource <path>', 'only this secret, of those that the policy decides over'),
});

export interface WishInput {
  readonly measurement: readonly string[];
  readonly reference: readonly string[];
  readonly minTcb?: PolicyWishes['minimumTcb'];
  readonly product: readonly string[];
  readonly idKey: readonly string[];
  readonly authorKey: readonly string[];
  readonly chipId: readonly string[];
  readonly denyChipId: readonly string[];
  readonly notBefore?: number | undefined;
  readonly notAfter?: number | undefined;
  readonly machines?: number | undefined;
  readonly resource?: string | undefined;
}

/** The wishes of a command line; undefined where it has none. */
export function wishesOf(input: WishInput): PolicyWishes | undefined {
  const some = <T>(values: readonly T[]) => (values.length === 0 ? undefined : values);
  const wishes: PolicyWishes = {
    measurements: some(input.measurement),
    references: some(input.reference),
    minimumTcb: input.minTcb,
    productLines: some(input.product as readonly ProductLine[]),
    idKeyDigests: some(input.idKey),
    authorKeyDigests: some(input.authorKey),
    chips: some(input.chipId),
    deniedChips: some(input.denyChipId),
    notBefore: input.notBefore,
    notAfter: input.notAfter,
    machines: input.machines,
    resource: input.resource,
  };
  const { resource: _, ...others } = wishes;
  return Object.values(others).every((each) => each === undefined) ? undefined : wishes;
}

function readTcb(given: string, name: string): NonNullable<PolicyWishes['minimumTcb']> {
  const floor: Record<string, number> = {};
  for (const pair of given.split(',')) {
    const [, part = '', digits = ''] = /^([a-z]+)=(\d{1,3})$/.exec(pair.trim()) ?? [];
    if (!(tcbComponents as readonly string[]).includes(part) || Number(digits) > 255)
      throw new InvalidArgumentError(name, `expected ${tcbComponents.join(', ')} with numbers, as snp=24`);
    floor[part] = Number(digits);
  }
  return floor;
}
