import { createHash } from 'node:crypto';
import { InvalidArgumentError } from '@vouchsafe/sev';

/** The policies that Trustee publishes for resources, and those of its engine's tests. */
export type TrusteeResourcePolicy =
  | 'default'
  | 'allow_all'
  | 'deny_all'
  | 'affirming'
  | 'policy_1'
  | 'policy_2';

/** SHA-256 of the normalised text. `policy_3` of the engine's tests is `deny_all` without its comments. */
const resourcePolicies: Readonly<Record<string, TrusteeResourcePolicy>> = {
  '2ff6577d0c01b77089c534b592c907f66389899ab436f30755be29df84afa3c4': 'default',
  a75309a80b5633dd9bb47ace0cdb750d026209b5d9b95f5b361482db57a583f4: 'allow_all',
  deb22d553f3cf292b37f824963596ea7148ac83412ce9050a8ba3b55b50921be: 'deny_all',
  e21d01e35997371ea19de636df1e01ecbb2dbeb150b7abeeb0d4800f62445857: 'affirming',
  b0199ffc4050132065191c0b53dbf82e04c6379396fd2bf938692f6ffaaf2d26: 'policy_1',
  '2f6f9a523d921e4f69ec8306927bf9ee46809338faf3a2955a5d02dc27334c17': 'policy_2',
};

const attestationPolicies: Readonly<Record<string, 'ear_default_policy_cpu'>> = {
  '050584aea3245471e12224de19a470040b986ac8524f4429f088aa003ce694e6': 'ear_default_policy_cpu',
};

/**
 * Says which of Trustee's resource policies a text is. Comments and white space make no difference; everything else does.
 * @throws InvalidArgumentError for other Rego source, with the ways out
 */
export function recogniseResourcePolicy(rego: string): TrusteeResourcePolicy {
  return resourcePolicies[fingerprint(rego)] ?? refuse('resource policy', rego);
}

/**
 * Says whether a text is Trustee's default attestation policy.
 * @throws InvalidArgumentError for other Rego source, with the ways out
 */
export function recogniseAttestationPolicy(rego: string): 'ear_default_policy_cpu' {
  return attestationPolicies[fingerprint(rego)] ?? refuse('attestation policy', rego);
}

function refuse(what: string, rego: string): never {
  const packageName = /^package\s+([\w.]+)/m.exec(rego)?.[1];
  const found =
    packageName === undefined ? 'text without a package' : `Rego source of package ${packageName}`;
  const isResource = what === 'resource policy';
  throw new InvalidArgumentError(
    what,
    `${found} is none of Trustee’s published ones, and this broker does not interpret Rego source`,
    {
      hint: isResource
        ? 'compile it, `opa build -t wasm -e policy/allow FILE`, and send policy.wasm of the bundle in its place; or write it in Cedar: `vouchsafe broker policy`'
        : 'send the default one, and say what else you demand in reference values and in a release policy: `vouchsafe broker policy`',
    },
  );
}

function fingerprint(rego: string): string {
  return createHash('sha256').update(normalised(rego)).digest('hex');
}

/** Rego ends statements at the end of a line, so lines stay lines. */
function normalised(rego: string): string {
  const strings = /"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*/g;
  const bare = rego.replaceAll(strings, (token) => (token.startsWith('#') ? '' : token));
  return bare
    .split('\n')
    .map((line) => line.replaceAll(/[ \t\r]+/g, ' ').trim())
    .filter((line) => line !== '')
    .join('\n');
}
