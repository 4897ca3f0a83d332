import { InvalidArgumentError, isProductLine, type ProductLine, tcbComponents } from '@vouchsafe/sev';
import { z } from 'zod';

/** What a document of reference values says it is. */
export const referenceFormat = 'vouchsafe-reference-values/1';

/** When a value holds; within the period of its document. Left out, for all of it. */
export interface ReferencePeriod {
  /** ISO 8601, UTC: `2026-11-01T00:00:00Z`. */
  readonly notBefore?: string | undefined;
  /** ISO 8601, UTC; the last moment. */
  readonly notAfter?: string | undefined;
}

/** A digest that is known. Old and new stand side by side in one list, each with a period of its own. */
export interface DigestReference extends ReferencePeriod {
  /** Lower-case hexadecimal. */
  readonly value: string;
  /** For people: `web server 12`. */
  readonly label?: string | undefined;
}

/** The least TCB version of a product line. Components that are left out are not compared. */
export interface TcbFloorReference extends ReferencePeriod {
  readonly productLine: ProductLine;
  readonly reported: { readonly [component in (typeof tcbComponents)[number]]?: number | undefined };
  readonly label?: string | undefined;
}

/**
 * Reference values, as their issuer signs them. A document with `measurements` speaks of the guests that have one of
 * them: such a guest must have one of its `idKeyDigests`, `authorKeyDigests` and `hostData`, too, where it lists any.
 * `tcbFloors` hold for every guest on that product line.
 */
export interface ReferenceDocument {
  readonly format: typeof referenceFormat;
  /** Whose keys sign it. */
  readonly issuer: string;
  /** Which of the issuer's documents. A higher version replaces every lower one of the same issuer and name. */
  readonly name: string;
  /** 1 or more; it only rises. */
  readonly version: number;
  /** ISO 8601, UTC. Until then, the version before it stays in force. */
  readonly notBefore: string;
  /** ISO 8601, UTC; the last moment. After it, nothing of the document is in force and no earlier version returns. */
  readonly notAfter: string;
  /** Launch digests, 48 bytes. */
  readonly measurements?: readonly DigestReference[] | undefined;
  /**
   * Launch digests of SEV and SEV-ES, 32 bytes. They stand for themselves: kinds of launch that name this document expect
   * them, and guests of SEV-SNP are not compared with them.
   */
  readonly launchDigests?: readonly DigestReference[] | undefined;
  /** SHA-384 of ID keys, 48 bytes. */
  readonly idKeyDigests?: readonly DigestReference[] | undefined;
  /** SHA-384 of author keys, 48 bytes. */
  readonly authorKeyDigests?: readonly DigestReference[] | undefined;
  /** HOST_DATA, 32 bytes: digests of init-data. */
  readonly hostData?: readonly DigestReference[] | undefined;
  readonly tcbFloors?: readonly TcbFloorReference[] | undefined;
  /** Values by the names that the attestation policies of Trustee ask for, such as `snp_launch_measurement`. */
  readonly values?: Readonly<Record<string, unknown>> | undefined;
}

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/, 'expected a name of letters, digits, . _ @ -');
const moment = z.iso.datetime({ error: 'expected a date in UTC, such as 2026-11-01T00:00:00Z' });
const label = z.string().min(1).max(200).optional();
const period = { notBefore: moment.optional(), notAfter: moment.optional(), label };
const digests = (bytes: number) =>
  z
    .array(
      z.strictObject({
        value: z
          .string()
          .regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`), `expected ${bytes} bytes in lower-case hexadecimal`)
          .regex(/[1-9a-f]/, 'all zero stands for none'),
        ...period,
      }),
    )
    .min(1, 'an empty list fits nothing: leave it out')
    .max(10_000)
    .optional();
const component = z.int().min(0).max(255).optional();
const floor = z
  .strictObject(Object.fromEntries(tcbComponents.map((each) => [each, component])))
  .refine((value) => Object.keys(value).length > 0, 'names no component');

const documentSchema = z.strictObject({
  format: z.literal(referenceFormat),
  issuer: name,
  name,
  version: z.int().min(1),
  notBefore: moment,
  notAfter: moment,
  measurements: digests(48),
  launchDigests: digests(32),
  idKeyDigests: digests(48),
  authorKeyDigests: digests(48),
  hostData: digests(32),
  tcbFloors: z
    .array(
      z.strictObject({
        productLine: z.string().refine(isProductLine, 'is no product line') as z.ZodType<ProductLine>,
        reported: floor,
        ...period,
      }),
    )
    .min(1, 'an empty list fits nothing: leave it out')
    .max(1000)
    .optional(),
  values: z.record(z.string().min(1).max(256), z.json()).optional(),
});

/**
 * Reads a document of reference values, strictly.
 * @throws InvalidArgumentError naming the member
 */
export function parseReferenceDocument(value: unknown): ReferenceDocument {
  const parsed = documentSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new InvalidArgumentError(
      ['reference values', ...(issue?.path ?? [])].join('.'),
      issue?.message ?? 'not a document',
    );
  }
  const document: ReferenceDocument = parsed.data;
  requirePeriods(document);
  return document;
}

/** A period that ends before it begins was not meant; one that leaves its document's would promise what ends earlier. */
function requirePeriods(document: ReferenceDocument): void {
  const [first, last] = [Date.parse(document.notBefore), Date.parse(document.notAfter)];
  const within = (path: string, { notBefore, notAfter }: ReferencePeriod) => {
    const from = notBefore === undefined ? first : Date.parse(notBefore);
    const to = notAfter === undefined ? last : Date.parse(notAfter);
    const fault =
      from > to
        ? 'ends before it begins'
        : from < first || to > last
          ? 'leaves the document’s period'
          : undefined;
    if (fault !== undefined)
      throw new InvalidArgumentError(`reference values.${path}`, `its period ${fault}`);
  };
  within('notAfter', document);
  for (const kind of [...digestKinds, 'launchDigests', 'tcbFloors'] as const) {
    for (const [i, each] of (document[kind] ?? []).entries()) within(`${kind}.${i}`, each);
  }
}

/** The lists of digests of a document. */
export const digestKinds = ['measurements', 'idKeyDigests', 'authorKeyDigests', 'hostData'] as const;
export type DigestKind = (typeof digestKinds)[number];
