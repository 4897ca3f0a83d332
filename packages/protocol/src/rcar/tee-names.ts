/** Kinds of trusted execution environment that a request may name, in protocol 0.4.0. */
export const teeNames = [
  'snp',
  'az-snp-vtpm',
  'az-tdx-vtpm',
  'tdx',
  'sgx',
  'cca',
  'csv',
  'se',
  'hygondcu',
  'tpm',
  'nvidia',
  'sample',
  'sampledevice',
] as const;
export type TeeName = (typeof teeNames)[number];

/** As clients wrote them until kbs-types 0.12. */
const earlierNames: Readonly<Record<string, TeeName>> = {
  azsnpvtpm: 'az-snp-vtpm',
  aztdxvtpm: 'az-tdx-vtpm',
};

/** The kind that a request's `tee` names, in today's spelling; undefined for one that the protocol does not have. */
export function teeNamed(text: string): TeeName | undefined {
  if (Object.hasOwn(earlierNames, text)) return earlierNames[text];
  return teeNames.find((name) => name === text);
}
