import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { resourcePathText } from '@vouchsafe/protocol';
import { InvalidArgumentError, openSecret, UnavailableError } from '@vouchsafe/sev';
import { readInput } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import { targetOf } from '../../broker/client.js';
import type { KeyRegistrar } from '../registrar.js';

export interface TrusteeInput {
  readonly trustee: string;
  /** File with a token. */
  readonly adminToken: string | undefined;
  /** File with an Ed25519 key in PEM, which signs tokens. */
  readonly adminKey: string | undefined;
  readonly adminRole: string | undefined;
  readonly ca: string | undefined;
}

/** Time for one answer, in milliseconds. */
const patience = 60_000;
/** As long as Confidential Containers' key provider has them, in seconds. */
const tokenLife = 2 * 60 * 60;

/**
 * Through Trustee's administration: POST `/kbs/v0/resource/…`. It does not tell what there is, and puts what is posted in
 * the place of what was there.
 */
export async function trusteeRegistrar(
  input: TrusteeInput,
  io: Io,
  now: () => number,
): Promise<KeyRegistrar> {
  const { trustee, adminToken, adminKey, adminRole } = input;
  if ((adminToken === undefined) === (adminKey === undefined))
    throw new InvalidArgumentError('--admin-token', 'give --admin-token or --admin-key: one of the two');
  const target = await targetOf({ broker: trustee, data: '' }, io, '--trustee');
  const ca = input.ca === undefined ? undefined : Buffer.from(await readInput(input.ca, '--ca', io));
  const tokenText = adminToken === undefined ? undefined : await tokenIn(adminToken, io);
  const key = adminKey === undefined ? undefined : await signingKey(adminKey, io);
  const token = () => tokenText ?? signedToken(key!, adminRole, Math.floor(now() / 1000));

  function post(path: string, body: Uint8Array): Promise<{ status: number; text: string }> {
    return new Promise<{ status: number; text: string }>((resolve, reject) => {
      const start = target.secure ? httpsRequest : httpRequest;
      const request = start(
        {
          ...target.options,
          method: 'POST',
          path: `${target.prefix}/kbs/v0/resource/${path}`,
          timeout: patience,
          headers: {
            authorization: `Bearer ${token()}`,
            'content-type': 'application/octet-stream',
            'content-length': body.length,
          },
          ...(ca === undefined ? {} : { ca }),
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (part: string) => {
            if (text.length < 8192) text += part;
          });
          response.on('error', reject);
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        },
      );
      request.on('timeout', () => request.destroy(new Error('no answer in time')));
      request.on('error', reject);
      request.end(body);
    }).catch((cause: unknown) => {
      const reason =
        cause instanceof Error ? ('code' in cause ? String(cause.code) : cause.message) : 'failed';
      throw new UnavailableError('key broker', `${target.shown} does not answer (${reason})`, { cause });
    });
  }

  return {
    isTaken: async () => 'unknown',
    async store(path, secret) {
      const name = resourcePathText(path);
      const { status, text } = await post(name, openSecret(secret));
      if (status >= 200 && status < 300) return;
      throw new UnavailableError(
        'key broker',
        `it did not store ${name}: status ${status}${detailIn(text)}`,
        { hint: 'without its key at the broker nobody could open the image, so nothing was encrypted' },
      );
    },
  };
}

function signedToken(key: KeyObject, role: string | undefined, issued: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iat: issued, exp: issued + tokenLife, ...(role === undefined ? {} : { role }) };
  const signed = `${part({ alg: 'EdDSA', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
}

async function tokenIn(file: string, io: Io): Promise<string> {
  const text = new TextDecoder().decode(await readInput(file, '--admin-token', io)).trim();
  if (/^[\x21-\x7e]{1,8192}$/.test(text)) return text;
  throw new InvalidArgumentError('--admin-token', `${file} holds no token`);
}

async function signingKey(file: string, io: Io): Promise<KeyObject> {
  const content = await readInput(file, '--admin-key', io);
  try {
    const key = createPrivateKey(Buffer.from(content));
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // The reason would be OpenSSL's, about bytes of a key.
  } finally {
    content.fill(0);
  }
  throw new InvalidArgumentError('--admin-key', `${file} holds no private Ed25519 key in PEM`);
}

/** What the broker says in its error, if it is one. */
function detailIn(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    return typeof detail === 'string' ? `, ${detail.replaceAll(/\p{Cc}/gu, ' ').slice(0, 300)}` : '';
  } catch {
    return '';
  }
}
