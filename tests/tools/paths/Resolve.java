// Says which resource a Java server takes a request target for, in the ways in which Java servers do that.
// Prints its port, then answers every request with one resource a line; an empty line is an error.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.function.Function;

public class Resolve {
    static final List<Function<URI, String>> WAYS = List.of(
        URI::getPath,
        uri -> uri.normalize().getPath(),
        // A file server.
        uri -> Path.of("/", uri.getPath()).normalize().toString(),
        // An application that decodes the raw path by itself, as a form.
        uri -> Path.of("/", URLDecoder.decode(uri.getRawPath(), StandardCharsets.UTF_8)).normalize().toString());

    static void answer(HttpExchange exchange) throws IOException {
        List<String> resources = new ArrayList<>();
        for (Function<URI, String> way : WAYS) {
            try {
                resources.add(way.apply(exchange.getRequestURI()));
            } catch (IllegalArgumentException | NullPointerException none) {
                // No resource: such a server answers with an error. (InvalidPathException is one of the first kind.)
                resources.add("");
            }
        }
        byte[] body = String.join("\n", resources).getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 64);
        server.createContext("/", Resolve::answer);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
        System.out.println(server.getAddress().getPort());
    }
}
