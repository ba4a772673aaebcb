// Says which resource a Node server takes a request target for, in the ways in which Node servers do that.
// Prints its port, then answers every request with one resource a line; an empty line is an error.

import http from 'node:http'
import path from 'node:path'
import url from 'node:url'

const ways = [
  // The URL class of browsers: backslashes are slashes, encoded dot segments are dot segments.
  (target) => decodeURIComponent(new URL(target, 'http://localhost').pathname),
  (target) => new URL(target, 'http://localhost').pathname,
  // The older parser, which Express and Connect have by way of parseurl, and what static file servers do next.
  (target) => decodeURIComponent(url.parse(target).pathname),
  (target) => path.posix.normalize(decodeURIComponent(url.parse(target).pathname)),
  (target) => path.posix.normalize(decodeURIComponent(target.split('?')[0])),
]

const server = http.createServer((request, response) => {
  const resources = []
  for (const way of ways) {
    try {
      resources.push(way(request.url))
    } catch {
      // No resource: such a server answers with an error.
      resources.push('')
    }
  }
  response.end(resources.join('\n'))
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
