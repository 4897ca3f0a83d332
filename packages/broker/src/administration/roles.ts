/** What an administrator's token may do. They are disjoint, but for reading: whoever writes something may read it. */
export const roles = ['admin', 'policy', 'auditor', 'reader'] as const;
export type Role = (typeof roles)[number];

export function isRole(text: string): text is Role {
  return (roles as readonly string[]).includes(text);
}

/** One line for each role, for help and the description of the API. */
export const rolePurposes: Readonly<Record<Role, string>> = {
  admin: 'stores and withdraws secrets, issues and revokes tokens, rotates signing keys',
  policy: 'says what is released to whom: release policies, reference values, expected launches',
  auditor: 'reads the record: what was asked, decided and released, and why',
  reader: 'reads what is set up, never the record, and no secret',
};

/** Every administrative operation, with the roles that may do it. There is none that gives a secret out. */
export const operations = {
  'secret.put': ['admin'],
  'secret.change': ['admin'],
  'secret.delete': ['admin'],
  'secret.list': ['admin', 'reader'],
  'policy.set': ['policy'],
  'policy.delete': ['policy'],
  'policy.list': ['policy', 'reader'],
  'reference.put': ['policy'],
  'reference.list': ['policy', 'reader'],
  'issuer.set': ['admin'],
  'issuer.delete': ['admin'],
  'issuer.list': ['admin', 'policy', 'reader'],
  'launch.set': ['policy'],
  'launch.delete': ['policy'],
  'launch.list': ['policy', 'reader'],
  'token.issue': ['admin'],
  'token.revoke': ['admin'],
  'token.list': ['admin'],
  'key.rotate': ['admin'],
  'audit.tail': ['auditor'],
  'audit.verify': ['auditor'],
  'audit.export': ['auditor'],
  'decision.explain': ['auditor'],
  'status.show': ['admin', 'policy', 'auditor', 'reader'],
} as const satisfies Readonly<Record<string, readonly Role[]>>;
export type Operation = keyof typeof operations;

/** Whether somebody with these roles may do it. */
export function mayDo(held: readonly Role[], operation: Operation): boolean {
  return operations[operation].some((role) => held.includes(role));
}
