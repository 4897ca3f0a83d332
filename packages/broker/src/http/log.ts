import type { FastifyServerOptions } from 'fastify';

export interface LogOptions {
  readonly level: 'silent' | 'error' | 'warn' | 'info' | 'debug';
  /** Takes a line of JSON with its line break; standard error by default. */
  readonly write?: (line: string) => void;
}

/**
 * Structured logs: a line of JSON each. No header, body, query or path is logged, only patterns of routes; what could
 * slip in by a name is redacted all the same.
 */
export function loggerOptions({
  level,
  write = (line) => void process.stderr.write(line),
}: LogOptions): Pick<FastifyServerOptions, 'logger'> {
  if (level === 'silent') return { logger: false };
  return {
    logger: {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      stream: { write },
      redact: {
        paths: ['authorization', 'cookie', 'token', 'secret', 'password', 'key', 'headers', 'body'].flatMap(
          (name) => [name, `*.${name}`],
        ),
        censor: '[redacted]',
      },
      serializers: {
        req: ({ method, routeOptions, ip }) => ({
          method,
          route: routeOptions?.url ?? '(none)',
          address: ip,
        }),
        res: ({ statusCode }) => ({ status: statusCode }),
        err: ({ name }) => ({ type: name, message: '', stack: '' }),
      },
    },
  };
}
