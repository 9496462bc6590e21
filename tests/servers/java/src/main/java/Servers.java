import io.modelcontextprotocol.client.McpClient;
import io.modelcontextprotocol.client.McpSyncClient;
import io.modelcontextprotocol.client.transport.HttpClientStreamableHttpTransport;
import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.server.McpServer;
import io.modelcontextprotocol.server.transport.HttpServletStreamableServerTransportProvider;
import io.modelcontextprotocol.spec.McpSchema;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.lang.reflect.Field;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/**
 * The official Java SDK as a server and a client.
 *
 * <p>{@code serve}: a servlet in an embedded Tomcat, on a loopback port, which goes into the file $READY; /held tells how
 * many sessions it holds. {@code play URL}: a session opened, used and closed; the last line printed is what came of
 * each step.
 */
public final class Servers {
  private static final Duration PATIENCE = Duration.ofSeconds(10);

  public static void main(String[] words) throws Exception {
    if (words[0].equals("serve")) {
      serve();
    } else {
      play(words[1]);
    }
  }

  private static void serve() throws Exception {
    var transport = HttpServletStreamableServerTransportProvider.builder().mcpEndpoint("/mcp").build();
    var schema = Map.<String, Object>of("type", "object", "properties", Map.of("message", Map.of("type", "string")));
    McpServer.sync(transport)
        .serverInfo("java-sdk", "1")
        .capabilities(McpSchema.ServerCapabilities.builder().tools(false).build())
        .toolCall(
            McpSchema.Tool.builder("echo", schema).description("Says the message back").build(),
            (exchange, call) ->
                McpSchema.CallToolResult.builder()
                    .addTextContent(String.valueOf(call.arguments().get("message")))
                    .build())
        .build();
    var tomcat = new Tomcat();
    tomcat.setBaseDir(Files.createTempDirectory("servers").toString());
    tomcat.setPort(0);
    tomcat.getConnector().setProperty("address", "127.0.0.1");
    Context context = tomcat.addContext("", null);
    mount(context, "mcp", transport, "/*");
    mount(context, "held", new Held(transport), "/held");
    tomcat.start();
    tell(tomcat.getConnector().getLocalPort());
    tomcat.getServer().await();
  }

  private static void mount(Context context, String name, HttpServlet servlet, String path) {
    Tomcat.addServlet(context, name, servlet).setAsyncSupported(true);
    context.addServletMappingDecoded(path, name);
  }

  /** Writes the port so that nobody reads half of it. */
  private static void tell(int port) throws IOException {
    var ready = Path.of(System.getenv("READY"));
    var part = Path.of(ready + ".part");
    Files.writeString(part, String.valueOf(port));
    Files.move(part, ready);
  }

  /** The provider's own table; it has no public name. */
  private static final class Held extends HttpServlet {
    private final transient Map<?, ?> sessions;

    Held(HttpServletStreamableServerTransportProvider provider) throws ReflectiveOperationException {
      Field field = HttpServletStreamableServerTransportProvider.class.getDeclaredField("sessions");
      field.setAccessible(true);
      sessions = (Map<?, ?>) field.get(provider);
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse answer) throws IOException {
      answer.getWriter().print(sessions.size());
    }
  }

  private static void play(String url) throws IOException {
    var address = URI.create(url);
    var transport =
        HttpClientStreamableHttpTransport.builder(address.getScheme() + "://" + address.getAuthority())
            .endpoint(address.getPath())
            .openConnectionOnStartup(true)
            .build();
    McpSyncClient client = McpClient.sync(transport).requestTimeout(PATIENCE).build();
    var steps = new LinkedHashMap<String, Callable<String>>();
    steps.put("connect", () -> client.initialize().serverInfo().name());
    steps.put("list", () -> String.join(" ", client.listTools().tools().stream().map(McpSchema.Tool::name).toList()));
    steps.put("echo", () -> text(client));
    steps.put("close", () -> closed(client));
    var outcomes = new LinkedHashMap<String, Object>();
    for (var step : steps.entrySet()) {
      var outcome = take(step.getValue());
      outcomes.put(step.getKey(), outcome);
      if (step.getKey().equals("connect") && outcome.get("ok").equals(false)) {
        break;
      }
    }
    System.out.println(McpJsonDefaults.getMapper().writeValueAsString(outcomes));
    System.exit(0);
  }

  private static String text(McpSyncClient client) {
    var call = McpSchema.CallToolRequest.builder("echo").arguments(Map.of("message", "hello")).build();
    List<McpSchema.Content> content = client.callTool(call).content();
    return ((McpSchema.TextContent) content.get(0)).text();
  }

  private static String closed(McpSyncClient client) {
    if (!client.closeGracefully()) {
      throw new IllegalStateException("not closed");
    }
    return "";
  }

  private static Map<String, Object> take(Callable<String> step) {
    try {
      return Map.of("ok", true, "detail", step.call());
    } catch (Exception error) {
      return Map.of("ok", false, "detail", String.valueOf(error.getMessage()));
    }
  }
}
