import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';

export interface TlsFiles {
  /** Certificate and what is above it, PEM. */
  readonly certificate: string;
  /** Its private key, PEM without password. */
  readonly key: string;
}

/** A server's certificate as it stands in its files. */
export interface TlsIdentity {
  /** For the server when it starts. */
  readonly options: SecureContextOptions;
  /**
   * Reads the files again if they changed, and gives what the server should use from now on. Files that do not fit, half
   * written ones too, change nothing: the server goes on with what it has.
   */
  reload(): Promise<{ readonly changed: boolean; readonly options: SecureContextOptions }>;
}

/** @throws UnavailableError, InvalidArgumentError when the files cannot be read or do not fit together */
export async function loadTls(files: TlsFiles): Promise<TlsIdentity> {
  let stamp = await stampOf(files);
  let options = await readTls(files);
  return {
    get options() {
      return options;
    },
    async reload() {
      const now = await stampOf(files);
      if (now === stamp) return { changed: false, options };
      options = await readTls(files);
      stamp = now;
      return { changed: true, options };
    },
  };
}

async function readTls({ certificate, key }: TlsFiles): Promise<SecureContextOptions> {
  const options = { cert: await read(certificate), key: await read(key), minVersion: 'TLSv1.2' } as const;
  try {
    createSecureContext(options);
  } catch {
    // What OpenSSL says of a key is left out.
    throw new InvalidArgumentError('TLS', `${certificate} and ${key} are no certificate in PEM with its key`);
  }
  return options;
}

async function read(path: string): Promise<Buffer> {
  return outside(path, async () => readFile(path));
}

async function stampOf({ certificate, key }: TlsFiles): Promise<string> {
  const parts = [];
  for (const path of [certificate, key]) {
    const { mtimeMs, size, ino } = await outside(path, async () => stat(path));
    parts.push(`${mtimeMs} ${size} ${ino}`);
  }
  return parts.join('\n');
}

async function outside<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code = 'failed' } = cause as NodeJS.ErrnoException;
    throw new UnavailableError('TLS', `cannot read ${path} (${code})`, { cause });
  }
}
