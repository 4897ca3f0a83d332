import {
  fromBase64,
  InvalidArgumentError,
  openSecret,
  Secret,
  toBase64,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { z } from 'zod';
import type { MasterKey } from './master-key.js';

export interface VaultTransitOptions {
  /** For example `https://vault.example:8200`. Plain HTTP on loopback only. */
  readonly address: string;
  readonly token: Secret;
  /** Name of the transit key; it must be of an AEAD type, as `aes256-gcm96` is. */
  readonly key: string;
  /** Where the transit engine is mounted: `transit`. */
  readonly mount?: string;
  readonly namespace?: string;
  readonly fetch?: typeof globalThis.fetch;
  /** Milliseconds that an answer may take: 10,000. */
  readonly timeout?: number;
}

const encrypted = z.object({
  data: z.object({ ciphertext: z.string().regex(/^vault:v[0-9]+:[A-Za-z0-9+/=]+$/) }),
});
const decrypted = z.object({ data: z.object({ plaintext: z.string() }) });

/** An answer of Vault has some hundred bytes. */
const greatestAnswer = 65_536;

/**
 * A master key that never leaves HashiCorp Vault or OpenBao: the transit engine's `encrypt` and `decrypt`, with the
 * context as `associated_data` (Vault API, "Transit secrets engine").
 * @throws InvalidArgumentError for an address that would send the token in the clear, or a name that is not one
 */
export function vaultTransitMasterKey(options: VaultTransitOptions): MasterKey {
  const { token, key, mount = 'transit', namespace, fetch = globalThis.fetch, timeout = 10_000 } = options;
  const base = requireSafeAddress(options.address);
  for (const [name, value] of Object.entries({ key, mount })) {
    if (!/^[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*$/.test(value)) {
      throw new InvalidArgumentError(name, `${JSON.stringify(value)} is no name in Vault`);
    }
  }
  const service = `Vault at ${base.host}`;

  async function call(
    operation: 'encrypt' | 'decrypt',
    body: object,
  ): Promise<{ status: number; answer: unknown }> {
    const url = new URL(`/v1/${mount}/${operation}/${key}`, base);
    try {
      const response = await fetch(url, {
        method: 'POST',
        redirect: 'error',
        signal: AbortSignal.timeout(timeout),
        headers: {
          'content-type': 'application/json',
          'x-vault-request': 'true',
          'x-vault-token': new TextDecoder().decode(openSecret(token)),
          ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
        },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      if (text.length > greatestAnswer) throw new UnavailableError(service, 'its answer is far too long');
      return { status: response.status, answer: response.ok ? JSON.parse(text) : undefined };
    } catch (cause) {
      if (cause instanceof VouchsafeError) throw cause;
      // Not the cause itself: what fetch reports may repeat what was sent.
      const reason = cause instanceof Error ? cause.name : 'unknown error';
      throw new UnavailableError(service, `${operation} with key ${key} failed: ${reason}`, {
        hint: 'the broker asks Vault once, when it opens its database: it must be reachable and unsealed then',
      });
    }
  }

  function refused(operation: string, status: number): UnavailableError {
    return new UnavailableError(service, `${operation} with key ${key} was answered with status ${status}`, {
      hint:
        status === 403
          ? `the token needs \`update\` on ${mount}/encrypt/${key} and ${mount}/decrypt/${key}`
          : status === 503
            ? 'Vault is sealed'
            : undefined,
    });
  }

  return {
    id: `vault:${mount}/${key}`,
    async wrap(root, context) {
      const { status, answer } = await call('encrypt', {
        plaintext: toBase64(openSecret(root)),
        associated_data: toBase64(new TextEncoder().encode(context)),
      });
      const read = encrypted.safeParse(answer);
      if (!read.success) throw refused('encrypt', status);
      return new TextEncoder().encode(read.data.data.ciphertext);
    },
    async unwrap(wrapped, context) {
      const { status, answer } = await call('decrypt', {
        ciphertext: new TextDecoder().decode(wrapped),
        associated_data: toBase64(new TextEncoder().encode(context)),
      });
      if (status === 400) return undefined;
      const read = decrypted.safeParse(answer);
      if (!read.success) throw refused('decrypt', status);
      return Secret.take(fromBase64(read.data.data.plaintext, 'plaintext of Vault'));
    },
    close: () => token.zero(),
  };
}

function requireSafeAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const isLoopback = url !== undefined && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url === undefined || !(url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback))) {
    throw new InvalidArgumentError(
      'Vault address',
      'expected https, or http on this machine: it is sent a token',
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new InvalidArgumentError('Vault address', 'expected no user in it: Vault wants a token');
  }
  return url;
}
