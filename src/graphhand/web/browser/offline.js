// A service worker: keeps the page's files for use without a network, and isolates it, without which browsers do not let
// WebAssembly use several threads.

const CACHE = "graphhand";

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  event.respondWith(answered(request));
});

/** From the network, else as it was kept. */
async function answered(request) {
  const cache = await caches.open(CACHE);
  let response;
  try {
    response = await fetch(request);
    if (response.status === 200) cache.put(request, response.clone());
  } catch (error) {
    response = await cache.match(request);
    if (!response) throw error;
  }
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
