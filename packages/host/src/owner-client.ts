import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import {
  type LaunchBundle,
  type LaunchRequest,
  largestAnswer,
  launchBundle,
  launchRequest,
  launchSessionsPath,
  type MeasurementEvidence,
  type Message,
  measurementEvidence,
  measurementPath,
  refusal,
  type SecretDelivery,
  secretDelivery,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, RefusedError, UnavailableError, VouchsafeError } from '@vouchsafe/sev';

/** The guest owner as a host meets it: on the wire. */
export interface GuestOwnerClient {
  /**
   * Asks for a launch session.
   * @throws RefusedError with the owner's checks; UnavailableError when the owner cannot be asked, or finds the request
   * unreadable; MalformedError when its answer cannot be read
   */
  openSession(request: LaunchRequest): Promise<LaunchBundle>;
  /** Reports what LAUNCH_MEASURE gave. @throws as {@link GuestOwnerClient.openSession} */
  reportMeasurement(evidence: MeasurementEvidence): Promise<SecretDelivery>;
}

export interface GuestOwnerClientOptions {
  /** Time for one request, in milliseconds: 30 seconds. */
  readonly timeout?: number;
}

/**
 * A client for the owner at `address`: `http://HOST:PORT`, `https://…`, or `unix:PATH`.
 * @throws InvalidArgumentError for another kind of address
 */
export function connectGuestOwner(
  address: string,
  { timeout = 30_000 }: GuestOwnerClientOptions = {},
): GuestOwnerClient {
  const target = targetOf(address);

  async function ask<T>(path: string, body: unknown, message: Message<T>): Promise<T> {
    const { status, text } = await post(target, path, JSON.stringify(body), timeout);
    if (status === 200 || status === 201) return message.parseText(text);
    if (status === 403) {
      const { subject, root, checks } = refusal.parseText(text);
      throw new RefusedError({ subject, ...(root === undefined ? {} : { root }), checks });
    }
    throw new UnavailableError('guest owner', `${path.split('/').at(-1)}: status ${status}${reasonIn(text)}`);
  }

  return {
    async openSession(request) {
      return ask(launchSessionsPath, launchRequest.toJson(request), launchBundle);
    },
    async reportMeasurement(evidence) {
      return ask(measurementPath(evidence.launchId), measurementEvidence.toJson(evidence), secretDelivery);
    },
  };
}

interface Target {
  readonly secure: boolean;
  readonly options: { readonly socketPath: string } | { readonly host: string; readonly port: number };
  readonly prefix: string;
}

function targetOf(address: string): Target {
  if (address.startsWith('unix:') && address.length > 5) {
    return { secure: false, options: { socketPath: address.slice(5) }, prefix: '' };
  }
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (
    url === undefined ||
    !['http:', 'https:'].includes(url.protocol) ||
    url.username !== '' ||
    url.search !== ''
  ) {
    throw new InvalidArgumentError('guest owner', 'expected http://HOST:PORT, https://HOST or unix:PATH');
  }
  const secure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
  return { secure, options: { host, port }, prefix: url.pathname.replace(/\/+$/, '') };
}

function post(
  target: Target,
  path: string,
  body: string,
  timeout: number,
): Promise<{ status: number; text: string }> {
  const send = target.secure ? httpsRequest : httpRequest;
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(
        cause instanceof VouchsafeError
          ? cause
          : new UnavailableError('guest owner', `it does not answer: ${cause.message}`, { cause }),
      );
    const signal = AbortSignal.timeout(timeout);
    const request = send(
      { ...target.options, path: `${target.prefix}${path}`, method: 'POST', headers, agent: false, signal },
      (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on('data', (part: Buffer) => {
          length += part.length;
          if (length > largestAnswer) {
            request.destroy(
              new UnavailableError('guest owner', `it answers with more than ${largestAnswer} bytes`),
            );
          } else {
            parts.push(part);
          }
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }),
        );
        response.on('error', fail);
      },
    );
    request.on('error', fail);
    request.end(body);
  });
}

/** What the owner says is wrong, if it says it in the usual shape. */
function reasonIn(text: string): string {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    return '';
  }
  const members = typeof answer === 'object' && answer !== null ? (answer as Record<string, unknown>) : {};
  const said = ['error', 'message', 'structure', 'field', 'expected', 'found'].flatMap((name) => {
    const value = members[name];
    return typeof value === 'string' ? [value.replace(/\p{Cc}+/gu, ' ').slice(0, 256)] : [];
  });
  return said.length === 0 ? '' : `: ${said.join(', ')}`;
}
