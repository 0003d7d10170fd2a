// A client in Java: every kind of thing a session does, once.
//
//   java Client.java CONNECTION-FILE
//
// Needs Java 17 and nothing else. It prints one line for each step and ends with status 1 at the first
// that does not go as protocol.md says. `Connection` sends and receives, `Json` reads and writes the
// little JSON that takes; a program with a JSON library would use that.

import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

public class Client {
    static final int PATIENCE = 60; // seconds before a silent server is given up

    /** What was to happen did not; the message says what. */
    static class Mismatch extends RuntimeException {
        Mismatch(String message) {
            super(message);
        }
    }

    public static void main(String[] arguments) {
        if (arguments.length != 1) fail("usage: java Client.java CONNECTION-FILE");
        try {
            run(Path.of(arguments[0]));
        } catch (Mismatch error) {
            fail(error.getMessage());
        } catch (IOException error) {
            fail("cannot read the connection file: " + error);
        }
    }

    static void run(Path file) throws IOException {
        var connection = connect(file);
        say("hello", hello(connection));
        var clone = connection.request("clone", Map.of());
        var session = (String) clone.get("new-session");
        expect("a session", true, session != null);
        say("clone", "a session in Python " + ((Map<?, ?>) clone.get("info")).get("version"));
        say("eval", evaluate(connection, session));
        say("error", error(connection, session));
        say("interrupt", interrupt(connection, session));
        say("stdin", stdin(connection, session));
        say("close", close(connection, session));
        connection.close();
    }

    // --- The steps

    static Connection connect(Path file) throws IOException {
        if (file.getFileSystem().supportedFileAttributeViews().contains("posix")) {
            var permissions = PosixFilePermissions.toString(Files.getPosixFilePermissions(file));
            if (!permissions.endsWith("------"))
                throw new Mismatch(file + " can be read by others, so its token is no secret: refused");
        }
        var server = Json.object(Files.readString(file));
        return new Connection((String) server.get("url"), (String) server.get("token"));
    }

    static String hello(Connection connection) {
        var protocol = (Map<?, ?>) connection.request("hello", Map.of("client-name", "java-example")).get("protocol");
        long least = (Long) protocol.get("min"), most = (Long) protocol.get("max");
        expect("a server that speaks version 1", true, least <= 1 && most >= 1);
        return "speaks protocol " + least + " to " + most;
    }

    static String evaluate(Connection connection, String session) {
        // Escaped, so that this file compiles in every locale: Grüße, 世界, a snake, café.
        var words = "Gr\u00fc\u00dfe, \u4e16\u754c \ud83d\udc0d";
        var reply = connection.request("eval", Map.of("session", session,
            "code", "print('" + words + "')\n'caf\u00e9'.upper()"));
        expect("the output", words + "\n", reply.text("out"));
        expect("the value", "'CAF\u00c9'", reply.get("value"));
        return "printed " + words + ", value " + reply.get("value");
    }

    static String error(Connection connection, String session) {
        var reply = connection.request("eval", Map.of("session", session,
            "code", "ratio = 1\nratio / 0", "file", "/w/ratio.py"));
        expect("status eval-error", true, reply.has("eval-error"));
        var error = (Map<?, ?>) reply.get("error");
        expect("the error", "ZeroDivisionError", error.get("type"));
        var traceback = (List<?>) error.get("traceback");
        var place = (Map<?, ?>) traceback.get(traceback.size() - 1);
        expect("its line", 2L, place.get("line"));
        expect("a printed traceback", true, reply.text("err").startsWith("Traceback"));
        return "%s: %s, in %s line %s".formatted(
            error.get("type"), error.get("message"), place.get("file"), place.get("line"));
    }

    static String interrupt(Connection connection, String session) {
        var loop = connection.send("eval", Map.of("session", session,
            "code", "ratio = 2\nprint('looping')\nwhile True: pass"));
        // `started` comes earlier, before the first line has run.
        connection.until(loop, message -> message.containsKey("out"));
        var reply = connection.request("interrupt", Map.of("session", session, "interrupt-id", loop.id));
        connection.finish(loop);
        expect("status interrupted", true, loop.has("interrupted"));
        var after = connection.request("eval", Map.of("session", session, "code", "ratio"));
        expect("what the eval had done", "2", after.get("value"));
        return "stopped by " + reply.get("stages");
    }

    static String stdin(Connection connection, String session) {
        var asks = connection.send("eval", Map.of("session", session, "code", "input('name? ')"));
        var question = connection.until(asks, message -> Reply.statuses(message).contains("need-input"));
        expect("the prompt", "name? ", question.get("prompt"));
        expect("a password", false, question.get("password"));
        connection.request("stdin", Map.of("session", session, "stdin", "Zo\u00eb\n"));
        connection.finish(asks);
        expect("the value", "'Zo\u00eb'", asks.get("value"));
        return "asked " + question.get("prompt") + "and got " + asks.get("value");
    }

    static String close(Connection connection, String session) {
        var reply = connection.request("close", Map.of("session", session));
        expect("status session-closed", true, reply.has("session-closed"));
        var refused = connection.send("eval", Map.of("session", session, "code", "1"));
        connection.finish(refused);
        expect("status unknown-session", true, refused.has("unknown-session"));
        return "the session is gone";
    }

    static void say(String step, String text) {
        // In UTF-8 whatever the locale, which is what the default would follow.
        new PrintStream(System.out, true, StandardCharsets.UTF_8).printf("%-9s %s%n", step, text);
    }

    static void expect(String what, Object wanted, Object got) {
        if (!Objects.equals(wanted, got))
            throw new Mismatch("expected " + what + " to be " + wanted + " and got " + got);
    }

    static void fail(String reason) {
        System.err.println("Client.java: " + reason);
        System.exit(1);
    }

    // --- Requests and replies

    /** A request's id, and the replies that have come to it. */
    static class Reply {
        final String id;
        final List<Map<String, Object>> messages = new ArrayList<>();

        Reply(String id) {
            this.id = id;
        }

        static List<?> statuses(Map<String, Object> message) {
            return (List<?>) message.getOrDefault("status", List.of());
        }

        boolean has(String status) {
            return messages.stream().anyMatch(message -> statuses(message).contains(status));
        }

        /** A field that comes once: `value`, `error`. */
        Object get(String field) {
            for (var message : messages) if (message.get(field) != null) return message.get(field);
            return null;
        }

        /** All the text of a field: the cut between two `out` messages means nothing. */
        String text(String field) {
            var text = new StringBuilder();
            for (var message : messages) text.append(message.getOrDefault(field, ""));
            return text.toString();
        }
    }

    /** Messages over a WebSocket. One thread uses it; the socket's own only fills the queue. */
    static class Connection implements WebSocket.Listener {
        private final WebSocket socket;
        private final String prefix = UUID.randomUUID().toString().substring(0, 8); // ids must not come twice
        private final Map<String, Reply> open = new LinkedHashMap<>();
        private final LinkedBlockingQueue<Object> arrived = new LinkedBlockingQueue<>(); // texts, or why it closed
        private final StringBuilder partial = new StringBuilder();
        private int count;

        Connection(String url, String token) {
            try {
                socket = HttpClient.newHttpClient().newWebSocketBuilder().subprotocols("nrepl.v1.json")
                    .header("Authorization", "Bearer " + token).buildAsync(URI.create(url), this).join();
            } catch (CompletionException error) {
                Object why = error.getCause();
                if (why instanceof WebSocketHandshakeException refused)
                    why = "the server answered " + refused.getResponse().statusCode();
                throw new Mismatch("no connection to " + url + ": " + why);
            }
        }

        Reply send(String op, Map<String, ?> fields) {
            var reply = new Reply(prefix + "-" + ++count);
            open.put(reply.id, reply);
            var message = new LinkedHashMap<String, Object>(fields);
            message.put("op", op);
            message.put("id", reply.id);
            try {
                socket.sendText(Json.write(message), true).join(); // one at a time, as WebSocket demands
            } catch (CompletionException error) {
                throw new Mismatch("cannot send " + op + ": " + error.getCause().getMessage());
            }
            return reply;
        }

        /** Send a request and wait for all its replies. */
        Reply request(String op, Map<String, ?> fields) {
            var reply = send(op, fields);
            finish(reply);
            if (reply.has("error")) throw new Mismatch(op + " was refused: " + reply.get("message"));
            return reply;
        }

        void finish(Reply reply) {
            until(reply, message -> Reply.statuses(message).contains("done"));
        }

        /** The first reply, past or to come, that passes the test. */
        Map<String, Object> until(Reply reply, Predicate<Map<String, Object>> test) {
            int seen = 0;
            while (true) {
                for (; seen < reply.messages.size(); seen++)
                    if (test.test(reply.messages.get(seen))) return reply.messages.get(seen);
                if (!open.containsKey(reply.id)) throw new Mismatch("ended too soon: " + reply.messages);
                receive();
            }
        }

        void close() {
            socket.sendClose(WebSocket.NORMAL_CLOSURE, "").join();
        }

        private void receive() {
            Object next;
            try {
                next = arrived.poll(PATIENCE, TimeUnit.SECONDS);
            } catch (InterruptedException error) {
                throw new Mismatch("interrupted while waiting for the server");
            }
            if (next == null) throw new Mismatch("the server did not answer in " + PATIENCE + " s");
            if (next instanceof Mismatch closed) throw closed;
            var message = Json.object((String) next);
            // Events, late output and replies to frames nobody could parse belong to no open request.
            var reply = open.get(message.get("id"));
            if (reply == null || message.containsKey("late")) return;
            reply.messages.add(message);
            if (Reply.statuses(message).contains("done")) open.remove(reply.id);
        }

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
            partial.append(part);
            if (last) {
                arrived.add(partial.toString());
                partial.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            arrived.add(new Mismatch("the server closed the connection: " + code + " " + reason));
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            arrived.add(new Mismatch("the connection broke: " + error));
        }
    }

    // --- JSON

    /** Just enough: objects are maps, integers Long, other numbers Double. */
    static class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        @SuppressWarnings("unchecked")
        static Map<String, Object> object(String text) {
            if (new Json(text).value() instanceof Map<?, ?> map) return (Map<String, Object>) map;
            throw new Mismatch("not a JSON object: " + text);
        }

        static String write(Object value) {
            if (value instanceof Map<?, ?> map) {
                var members = new ArrayList<String>();
                map.forEach((name, member) -> members.add(write(name) + ":" + write(member)));
                return "{" + String.join(",", members) + "}";
            }
            if (!(value instanceof String string)) return String.valueOf(value); // numbers, booleans, null
            var out = new StringBuilder("\"");
            for (char c : string.toCharArray()) {
                if (c < ' ' || c == '"' || c == '\\') out.append(String.format("\\u%04x", (int) c));
                else out.append(c);
            }
            return out.append('"').toString();
        }

        private Object value() {
            switch (next()) {
                case '{': return members();
                case '[': return items();
                case '"': return string();
                default: return word();
            }
        }

        private Map<String, Object> members() {
            var map = new LinkedHashMap<String, Object>();
            for (at++; next() != '}'; comma()) {
                var key = string();
                next(); // stands on the colon now
                at++;
                map.put(key, value());
            }
            at++;
            return map;
        }

        private List<Object> items() {
            var list = new ArrayList<>();
            for (at++; next() != ']'; comma()) list.add(value());
            at++;
            return list;
        }

        private String string() {
            var out = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) out.append(text.charAt(at) == '\\' ? escaped() : text.charAt(at));
            at++;
            return out.toString();
        }

        private char escaped() {
            char c = text.charAt(++at);
            if (c == 'u') {
                at += 4;
                return (char) Integer.parseInt(text.substring(at - 3, at + 1), 16);
            }
            int plain = "bfnrt".indexOf(c);
            return plain < 0 ? c : "\b\f\n\r\t".charAt(plain);
        }

        private Object word() {
            int start = at;
            while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
            var word = text.substring(start, at);
            switch (word) {
                case "null": return null;
                case "true": return true;
                case "false": return false;
                default:
                    if (word.matches("-?\\d+")) return Long.valueOf(word);
                    return Double.valueOf(word);
            }
        }

        private void comma() {
            if (next() == ',') at++;
        }

        /** The next character that is not white space, without passing it. */
        private char next() {
            while (Character.isWhitespace(text.charAt(at))) at++;
            return text.charAt(at);
        }
    }
}
