import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import {
  type Appraisal,
  type CheckStatus,
  InvalidArgumentError,
  RefusedError,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { filesIn } from './data-folder.js';

export interface ClientInput {
  readonly data: string;
  readonly broker?: string | undefined;
  readonly token?: string | undefined;
  readonly ca?: string | undefined;
}

type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

/** A running broker, as its administrators ask it. */
export interface BrokerAdministration {
  /** What the API answers with at a path below `/v1`. @throws as {@link failureOf} says */
  ask<T>(method: Method, path: string, body?: object): Promise<T>;
  /** The answer as it comes, line by line. */
  lines(path: string, line: (text: string) => void): Promise<void>;
}

/** Time for one answer, in milliseconds. */
const patience = 60_000;

export async function connectBroker(input: ClientInput, io: Io): Promise<BrokerAdministration> {
  const target = await targetOf(input, io);
  const token = await tokenOf(input, io);
  const ca = input.ca === undefined ? undefined : await readInput(input.ca, '--ca', io);

  function send(method: Method, path: string, body: string | undefined, onData: (text: string) => void) {
    return new Promise<number>((resolve, reject) => {
      const start = target.secure ? httpsRequest : httpRequest;
      const request = start(
        {
          ...target.options,
          method,
          path: `${target.prefix}/v1${path}`,
          timeout: patience,
          headers: {
            authorization: `Bearer ${token}`,
            ...(body === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          },
          ...(ca === undefined ? {} : { ca: Buffer.from(ca) }),
        },
        (response) => {
          response.setEncoding('utf8').on('data', onData);
          response.on('error', reject);
          response.on('end', () =>
            response.complete ? resolve(response.statusCode ?? 0) : reject(new Error('the answer broke off')),
          );
        },
      );
      request.on('timeout', () => request.destroy(new Error('no answer in time')));
      request.on('error', reject);
      request.end(body);
    }).catch((cause: unknown) => {
      const reason =
        cause instanceof Error ? ('code' in cause ? String(cause.code) : cause.message) : 'failed';
      throw new UnavailableError('broker', `${target.shown} does not answer (${reason})`, {
        cause,
        hint: 'start it with `vouchsafe broker serve`, or name another with --broker',
      });
    });
  }

  return {
    async ask<T>(method: Method, path: string, body?: object) {
      let text = '';
      const status = await send(
        method,
        path,
        body === undefined ? undefined : JSON.stringify(body),
        (part) => {
          text += part;
        },
      );
      const answer = jsonOf(text);
      if (status >= 200 && status < 300) return answer as T;
      throw failureOf(status, answer);
    },
    async lines(path, line) {
      let rest = '';
      const status = await send('GET', path, undefined, (part) => {
        const parts = (rest + part).split('\n');
        rest = parts.pop() ?? '';
        for (const each of parts) line(each);
      });
      if (status !== 200) throw failureOf(status, jsonOf(rest));
    },
  };
}

interface ErrorAnswer {
  readonly error?: string;
  readonly message?: string;
  readonly hint?: string;
  readonly field?: string;
  readonly argument?: string;
  readonly checks?: readonly {
    id: string;
    status: CheckStatus;
    expected?: string;
    found?: string;
    hint?: string;
  }[];
}

/** The broker refuses whoever asks: the token is not good there, or its roles do not suffice. */
class AdministratorRefusedError extends VouchsafeError {
  readonly code = 'administrator-refused';
}

/** What an answer says went wrong: a refusal with its checks or of the token, a mistake in what was sent, or the rest. */
function failureOf(status: number, answer: unknown): Error {
  const { error = '', message, hint, field, argument, checks }: ErrorAnswer = isObject(answer) ? answer : {};
  const options = hint === undefined ? {} : { hint };
  if (checks !== undefined) {
    const appraisal: Appraisal = {
      subject: 'request',
      checks: checks.map((check) => ({ ...check, title: check.id, kind: 'authenticity' })),
    };
    return new RefusedError(appraisal);
  }
  if (status === 400) {
    const what = argument ?? field ?? 'request';
    const text = (message ?? error).replace(`${what}: `, '');
    return new InvalidArgumentError(what, text || 'the broker cannot read it', options);
  }
  if (status === 401 || status === 403)
    return new AdministratorRefusedError(
      `the broker refuses: ${message ?? `status ${status} ${error}`}`,
      options,
    );
  return new UnavailableError(
    'broker',
    message ?? `it answered with status ${status} ${error}`.trimEnd(),
    options,
  );
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Where a service is that an administrator's token may be sent to.
 * @throws InvalidArgumentError naming `argument`
 */
export async function targetOf({ broker, data }: ClientInput, io: Io, argument = '--broker') {
  const shown = broker ?? io.env['VOUCHSAFE_BROKER'] ?? (await runningAddress(data));
  if (shown.startsWith('unix:'))
    return { shown, secure: false, prefix: '', options: { socketPath: shown.slice(5) } };
  const url = URL.canParse(shown) ? new URL(shown) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.username + url.password !== '')
    throw new InvalidArgumentError(argument, 'expected http://HOST:PORT, https://… or unix:PATH');
  const secure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  // A name may begin as an address does, and be any machine.
  const isLoopback = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  if (!secure && !isLoopback)
    throw new InvalidArgumentError(argument, `a token would be sent to ${host} in the clear`, {
      hint: 'use https://',
    });
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
  return { shown, secure, prefix: url.pathname.replace(/\/+$/, ''), options: { host, port } };
}

/** The address that the folder's broker wrote down when it began to answer. */
async function runningAddress(folder: string): Promise<string> {
  try {
    return (await readFile(filesIn(folder).address, 'utf8')).trim();
  } catch {
    throw new InvalidArgumentError('--broker', `no broker is running in ${folder}`, {
      hint: 'start it with `vouchsafe broker serve`, or name its address or another --data',
    });
  }
}

async function tokenOf({ token, data }: ClientInput, io: Io): Promise<string> {
  const own = filesIn(data).token;
  const given = token ?? io.env['VOUCHSAFE_BROKER_TOKEN_FILE'] ?? own;
  const content = await readInput(given, 'token', io).catch((error: unknown) => {
    if (given !== own || !(error instanceof UnavailableError)) throw error;
    throw new UnavailableError('token', error.message.replace(/^token: /, ''), {
      cause: error,
      hint: 'name another with --token; where the administrator’s was lost, `vouchsafe broker token recover` makes one',
    });
  });
  try {
    const text = new TextDecoder().decode(content).trim();
    if (/^[\x21-\x7e]{1,4096}$/.test(text)) return text;
    throw new InvalidArgumentError('--token', `${given} holds no token`);
  } finally {
    content.fill(0);
  }
}
