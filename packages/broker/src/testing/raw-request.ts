import { request } from 'node:http';
import type { Answered } from './broker.js';

export interface RawRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Asks over a socket with the path as it stands: `fetch` and `inject` would tidy it first. */
export function askRaw<T = unknown>(
  address: string,
  path: string,
  { method = 'GET', headers = {}, body }: RawRequest = {},
): Promise<Answered<T>> {
  const { hostname, port } = new URL(address);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path, method, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => {
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, headers: answered, json: JSON.parse(text) as T, text });
      });
    })
      .on('error', reject)
      .end(body);
  });
}
