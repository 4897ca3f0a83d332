/**
 * The threat model as imports: one package per role, and what each may know of the others. `docs/architecture.md`
 * shows the same table in words.
 */
export interface PackageRule {
  /** Specifiers of our own packages, exactly as they must be written; a subpath that is not listed is refused. */
  readonly mayImport: readonly string[];
  /** Why the rest is out of reach: the sentence of the threat model that a forbidden import would break. */
  readonly why: string;
  /** Node's own modules: `yes`, or only in these files (paths inside the package). */
  readonly nodeModules: 'yes' | readonly string[];
}

const all = ['sev', 'protocol', 'kds', 'firmware', 'host', 'guest', 'broker'];

export const importTable: Readonly<Record<string, PackageRule>> = {
  sev: {
    mayImport: [],
    why: 'sev is the ground floor: functions over bytes that run in browsers too, so that anyone can verify',
    nodeModules: ['src/crypto/node.ts', 'src/crypto/key-encryption/node.ts'],
  },
  protocol: {
    mayImport: ['@vouchsafe/sev'],
    why: 'protocol is what travels between roles: pure, and the same for all of them',
    nodeModules: [],
  },
  kds: {
    mayImport: ['@vouchsafe/sev'],
    why: 'kds holds the development root key: what it imports could reach that key',
    nodeModules: 'yes',
  },
  firmware: {
    mayImport: ['@vouchsafe/sev'],
    why: 'firmware stands for silicon: it knows its own keys and nothing of owners, hosts or services',
    nodeModules: 'yes',
  },
  host: {
    mayImport: ['@vouchsafe/sev', '@vouchsafe/protocol', '@vouchsafe/kds', '@vouchsafe/firmware/mailbox'],
    why:
      'the host is hostile by assumption: it meets the owner on the wire only, and of the machine it sees ' +
      'command buffers and ciphertext, never a plaintext or a key',
    nodeModules: 'yes',
  },
  guest: {
    mayImport: ['@vouchsafe/sev', '@vouchsafe/protocol', '@vouchsafe/firmware/guest-view'],
    why: 'the guest sees its own memory and nothing of the host; it meets the owner on the wire only',
    nodeModules: 'yes',
  },
  broker: {
    mayImport: ['@vouchsafe/sev', '@vouchsafe/protocol', '@vouchsafe/kds'],
    why: 'the owner trusts evidence, not machines: whatever it learns of a host or a guest comes over the wire',
    nodeModules: 'yes',
  },
  cli: {
    mayImport: [
      ...all.map((name) => `@vouchsafe/${name}`),
      '@vouchsafe/broker/documents',
      '@vouchsafe/firmware/mailbox',
      '@vouchsafe/firmware/guest-view',
    ],
    why: 'the command wires the roles together; nothing imports the command',
    nodeModules: 'yes',
  },
  page: {
    mayImport: ['@vouchsafe/sev'],
    why: 'the page verifies in a stranger’s browser: it has the verifier, no role, and no network',
    nodeModules: [],
  },
  tools: {
    mayImport: [
      ...all.map((name) => `@vouchsafe/${name}`),
      '@vouchsafe/broker/documents',
      '@vouchsafe/firmware/mailbox',
      '@vouchsafe/firmware/guest-view',
      '@vouchsafe/cli/attacks',
    ],
    why: 'tools look at every package; nothing imports them',
    nodeModules: 'yes',
  },
};
