import type { Broker } from '@vouchsafe/broker';

/** A broker's answer to one request. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  /** `name=value` of the cookie that came with it. */
  readonly cookie: string;
}

export interface Question {
  readonly method: 'GET' | 'PUT' | 'POST';
  /** The whole path. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One request, without a socket between: the same bytes reach the same routes. */
export async function ask({ app }: Broker, { method, url, headers = {}, body }: Question): Promise<Answer> {
  const {
    statusCode,
    payload,
    headers: given,
  } = await app.inject({
    method,
    url,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { payload: body }),
  });
  const [cookie = ''] = String(given['set-cookie'] ?? '').split(';', 1);
  return { status: statusCode, text: payload, cookie };
}

/** The same by whoever holds an administrator's token. @param path below `/v1` */
export function administer(
  broker: Broker,
  token: string,
  method: Question['method'],
  path: string,
  body?: object,
): Promise<Answer> {
  const headers = { authorization: `Bearer ${token}` };
  const question = { method, url: `/v1${path}`, headers };
  return ask(broker, body === undefined ? question : { ...question, body: JSON.stringify(body) });
}

export const isGood = ({ status }: Answer) => status === 200 || status === 201;

/** What a part of an attack gave that has to succeed. @throws TypeError when it did not */
export function required(answer: Answer): Answer {
  if (isGood(answer)) return answer;
  throw new TypeError(`the broker answered ${answer.status}: ${answer.text}`);
}
