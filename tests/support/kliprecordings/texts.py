"""What is said and what is written in the recordings."""

PLAIN = (
    "Welcome back everyone, today we look at the second part of the map.",
    "I moved the table to the other side of the room yesterday.",
    "The next update should arrive some time in the middle of the week.",
    "We still need wood and a little more stone for the bridge.",
    "Let me check the settings before we go on.",
    "Somebody asked which keyboard this is, I will put a link below.",
    "The door on the left leads to the storage, and the one on the right is locked.",
    "My brother called this morning and told me about his new job.",
    "There are three roads here and I always take the wrong one.",
    "I had soup for lunch, which was fine.",
    "The sound is a bit low, I will turn it up after this part.",
    "He said that the meeting was moved to Thursday.",
    "This part of the level is mostly walking.",
    "You can see the river from here if you turn around.",
    "We have about twenty minutes until the next match starts.",
    "I read two chapters of the book on the train.",
    "The menu has changed since the last version, so bear with me.",
    "Now we wait for the others to get ready.",
    "I think the old layout was easier to read.",
    "That was a good idea from chat, thank you.",
    "It is raining again, you can probably hear it.",
    "The battery of my phone is nearly empty.",
    "I do not like this song very much, but it is all right.",
    "We could go back and collect the rest later.",
    "There was a nice bakery in the village where I grew up.",
    "The last time we tried this it went badly.",
    "Put the blue one next to the green one and leave a gap.",
    "I will answer the question about the camera in a moment.",
    "The train was late, so I missed the beginning of the film.",
    "Let us see what the merchant has to sell today.",
)

EXCITED = {
    "win": (
        "Yes! Oh my god, we did it, that was incredible!",
        "What a shot! What a shot! That is insane!",
        "Let's go! That is the new record, unbelievable!",
        "He takes the last one and wins it all, amazing!",
        "Goal! What an amazing goal, can you believe it!",
    ),
    "funny": (
        "Ha ha ha, no way, did you see his face, that is hilarious!",
        "Oh no, he fell into the water again, I can not stop laughing!",
        "What was that, that is the funniest thing I have seen all year!",
    ),
    "fail": (
        "No! No no no, I can not believe it, we lost everything!",
        "Oh no, that was the worst possible moment, I am so angry!",
        "Why would you do that! The whole run is dead, this is terrible!",
    ),
    "scare": (
        "Oh my god! Behind you, run, run, run!",
        "What the hell was that! That scared me to death!",
        "Watch out! It is right there, I am terrified!",
    ),
}

CHATTER = (
    "hello everyone", "hi from brazil", "what game is this", "how long is the stream today", "back", "brb food",
    "which mouse do you use", "is this ranked", "first time here", "good evening", "hey chat", "yo", "ok", "true",
    "same", "can you turn the music down", "any plans for the weekend", "what rank are you", "yes", "no", "maybe",
    "i had pizza", "the left door", "try the other key",
    "you missed a chest", "what is the song", "is he live tomorrow",
    "wb", "thanks", "np", "lurking while i work", "how is the weather there", "did he say thursday", "i think so",
    "not sure", "go left", "go right", "check the map",
    "that is the old version", "nice hat", "cool", "lol", "haha",
    "LUL", "good idea", "i like this part", "this part is boring", "sad story", "W streamer", "love this song",
    "that is kinda funny", "lmao what", "gg", "hmm", "?", "wait what", "my cat is asleep", "pog", "rip my internet",
    "mods?", "discord link?", "drink water", "when is the next one", "2 years already", "cya later", "lag?", "KEKW",
)  # fmt: skip

REACTIONS = {
    "win": (
        "POG", "POGGERS", "PogChamp", "LETS GOOO", "LETSGOOOO", "W", "WWWWW", "OOOOO", "AAAAA", "insane", "INSANE",
        "no way", "NO WAY", "clip it", "that was sick", "what a shot", "HOLY", "gg", "he did it", "omg", "OMG",
        "zolaDance zolaDance", "🔥🔥🔥", "🎉🎉", "GOAT", "actual god",
        "wow", "yesss", "first try", "clean", "cracked", "!!!!!",
    ),
    "funny": (
        "LUL", "LULW", "KEKW", "KEKW KEKW KEKW", "OMEGALUL", "hahaha",
        "lmao", "LMAOOO", "im crying", "😂😂😂", "🤣", "💀",
        "dead", "xD", "his face", "clip that", "bro",
        "ICANT", "zolaGiggle", "not like this", "jajaja", "lolol", "??????",
        "no way", "what", "WHAT",
    ),
    "fail": (
        "F", "FFFF", "rip", "RIP", "L", "LLLL",
        "nooo", "NOOOO", "Sadge", "PepeHands", "unlucky", "NotLikeThis", "oof",
        "pain", "so close", "it was so close", "😭😭", "throw",
        "what was that", "zolaSob", "bruh", "why", "gone", "reset",
    ),
    "scare": (
        "monkaS", "monkaW", "OMG", "AAAAAA", "AAAAAAAAAA", "jumpscare", "nope", "NOPE", "holy", "run", "RUN", "😱😱",
        "i screamed", "my heart", "what was that", "scary", "HELP", "zolaHide", "wtf", "WTF", "im out", "lights on",
    ),
}  # fmt: skip

RAID = (
    "{name} raid!", "{name} RAID {name} RAID", "hello from {name}'s stream", "raid hype", "❤️❤️❤️", "zolaHi zolaHi",
    "hi", "hey hey", "we are here", "{name} sent us", "💜💜",
    "whats up", "PogChamp", "raiders assemble", "o/", "hiii",
    "love from {name}", "what are we watching", "first time here",
)  # fmt: skip

PASTA = (
    "I have been watching this stream for nine years and never once has he opened the blue chest, what a legend",
    "If you read this you have to post it again or the next door will be locked, sorry I do not make the rules",
    "Dear streamer, my grandmother is a big fan and she would like to know why you always go left",
)

BOT = "Follow the channel on the other sites as well, the links are below, and join the server to talk with us!"

NAMES = (
    "mira", "tobi", "quartz", "lunar", "pixel", "nova",
    "badger", "koala", "ember", "frost", "maple", "raven", "otter",
    "salt", "violet", "zephyr", "comet", "dune", "echo", "fern",
    "grit", "haze", "iris", "jolt", "kite", "lark", "moss",
)  # fmt: skip
